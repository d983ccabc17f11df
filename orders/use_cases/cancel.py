"""Cancelling an order because somebody asks for it.

Until a runner accepts the order its create-order saga is cancelled. After that the money has moved: an operator's
cancellation starts a saga of its own, refund_order, that gives it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction

import sagas
from orders import services
from orders.errors import CannotCancel
from orders.models import Order
from orders.reasons import explanation
from orders.sagas import refund_order
from orders.sagas.inputs import RefundRequest
from orders.use_cases.accept import Started, start
from sagas import CannotCancel as SagaCannotCancel


def cancel_or_refund(order: Order, *, reason_code: str, reason: str, actor: str, may_refund: bool) -> Started:
    """The one place where an order is asked for its cancellation.

    Raises CannotCancel, or the engine's AlreadyCancelling.
    """
    way = refund if may_refund and order.status in services.REFUNDABLE else cancel
    return way(order, reason_code=reason_code, reason=reason, actor=actor)


@transaction.atomic
def cancel(order: Order, *, reason_code: str, reason: str, actor: str) -> Started:
    """Cancel the create-order saga. Raises CannotCancel, or the engine's AlreadyCancelling."""
    sentence = explanation(reason_code, reason)
    with saying_where_the_order_is(order), transaction.atomic():
        row = sagas.cancel(order.saga_id, reason_code=reason_code, reason=sentence, actor=actor)
    return Started(str(row.id), str(row.status.value))


@contextmanager
def saying_where_the_order_is(order: Order) -> Iterator[None]:
    """The engine's refusal names the status of the saga. Replace it by one that names the status of the order."""
    try:
        yield
    except SagaCannotCancel:
        order.refresh_from_db(fields=["status"])
        raise CannotCancel(f"The order is {order.status}.", order_id=str(order.pk), order_status=order.status) from None


@transaction.atomic
def refund(order: Order, *, reason_code: str, reason: str, actor: str) -> Started:
    """Start refund_order for an order that was accepted or completed. Raises CannotCancel."""
    request = refund_request(order, reason_code=reason_code, reason=explanation(reason_code, reason))
    started = start(refund_order, request, order=order, owner=actor)
    services.record_cancelled_by(order_id=str(order.pk), actor=actor)
    return started


def refund_request(order: Order, *, reason_code: str, reason: str) -> RefundRequest:
    return RefundRequest(
        order_id=str(order.pk), payment_id=str(order.payment_id), reason=reason, reason_code=reason_code
    )
