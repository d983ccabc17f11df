"""Cancelling an order because somebody asks for it.

Until a runner accepts the order its create-order saga is cancelled. After that the money has moved: an operator's
cancellation starts a saga of its own, refund_order, that gives it back.
"""

from __future__ import annotations

from django.db import transaction

from orders import services
from orders.errors import CannotCancel
from orders.models import Order
from orders.reasons import explanation
from orders.sagas import refund_order
from orders.sagas.inputs import RefundRequest
from orders.use_cases.accept import Started, start
from sagas.engine import commands
from sagas.errors import CannotCancel as SagaCannotCancel


@transaction.atomic
def cancel(order: Order, *, reason_code: str, reason: str, actor: str, role: str) -> Started:
    """Cancel the create-order saga. `role` is who cancels (see `roles.acting_as`), `actor` the user's name.

    Raises CannotCancel, or the engine's AlreadyCancelling.
    """
    try:
        with transaction.atomic():
            sentence = explanation(reason_code, reason)
            row = commands.cancel(order.saga_id, reason_code=reason_code, reason=sentence, actor=actor)
    except SagaCannotCancel:
        order.refresh_from_db(fields=["status"])
        raise CannotCancel(f"The order is {order.status}.", order_id=str(order.pk), order_status=order.status) from None
    services.record_cancelled_by(order_id=str(order.pk), role=role)
    return Started(str(row.id), str(row.status.value))


@transaction.atomic
def refund(order: Order, *, reason_code: str, reason: str, actor: str, role: str) -> Started:
    """Start refund_order for an order that was accepted or completed. Raises CannotCancel."""
    request = RefundRequest(
        order_id=str(order.pk),
        payment_id=str(order.payment_id),
        reason=explanation(reason_code, reason),
        reason_code=reason_code,
    )
    started = start(refund_order, request, order=order, owner=actor)
    services.record_cancelled_by(order_id=str(order.pk), role=role)
    return started
