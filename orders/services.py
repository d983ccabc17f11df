"""What changes an order: its saga steps, and how a cancellation claims it. The stock's steps are in `orders.inventory`.

Every change is a compare-and-set on the status. The caller that comes too late gets an error with the current status.
All functions run inside a transaction of the engine, which has locked the saga's row. Rows are locked in the same order
everywhere: saga, order, payment, stock.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.conf import settings

import sagas
from orders import inventory, roles
from orders.errors import CannotAccept, CannotCancel, CannotComplete, OrderError, UnknownOrder, WrongStatus
from orders.models import Order, OrderLine, OrderStatus
from payments.money import from_cents
from timers.clock import database_now

CANCELLABLE = (OrderStatus.PENDING_PAYMENT, OrderStatus.CREATED)
FAILABLE = (OrderStatus.PENDING_PAYMENT, OrderStatus.CREATED)
REFUNDABLE = (OrderStatus.ACCEPTED, OrderStatus.COMPLETED)
#: Sagas that move an order's money before a refund.
BEFORE_A_REFUND = ("accept_order", "complete_order")


def create_order(
    *,
    order_id: str,
    saga_id: str,
    owner: str,
    customer_id: str,
    lines: list[dict[str, Any]],
    delivery_location: str,
    details: dict[str, Any],
    food_cents: int,
    delivery_fee_cents: int,
    total_cents: int,
    currency: str,
    payment_id: str,
    restaurant: str,
) -> None:
    """Insert the order as `pendingPayment`, with its lines (see `OrderRequest`) at the prices of this moment."""
    order = Order(
        id=uuid.UUID(order_id),
        saga_id=uuid.UUID(saga_id),
        payment_id=uuid.UUID(payment_id),
        restaurant=restaurant,
        owner=owner,
        customer_id=customer_id,
        delivery_location=delivery_location,
        details=details,
        food_total=from_cents(food_cents),
        delivery_fee=from_cents(delivery_fee_cents),
        total_amount=from_cents(total_cents),
        currency=currency,
    )
    order.save(force_insert=True)
    OrderLine.objects.bulk_create(_line(order, line) for line in lines)


def _line(order: Order, line: Mapping[str, Any]) -> OrderLine:
    return OrderLine(
        order=order,
        sku=line["sku"],
        name=line["name"],
        unit_price=from_cents(line["unit_price_cents"]),
        quantity=line["quantity"],
        is_free_line=line["sku"] is None,
    )


def confirm_order(*, order_id: str) -> None:
    """Money and food are secured: the order becomes CREATED and waits for a runner until its acceptance window closes.

    Raises WrongStatus, UnknownOrder, or ReservationExpired if the food is no longer reserved.
    """
    won = Order.objects.filter(pk=order_id).transition(
        to=OrderStatus.CREATED,
        allowed_from=[OrderStatus.PENDING_PAYMENT],
        accept_by=database_now(settings.ORDER_ACCEPTANCE_WINDOW),
    )
    if not won:
        raise _too_late(WrongStatus, order_id, "confirmed")
    inventory.confirm_reservations(order_id=order_id)


def cancel_order(*, order_id: str, reason: str, reason_code: str, actor: str = "") -> None:
    """End the order, if it exists: CANCELLED if somebody asked for that, FAILED if a step failed.

    `actor` is the user who cancelled its saga, by whatever way.
    """
    order = Order.objects.filter(pk=order_id)
    cancelled = order.transition(
        to=OrderStatus.CANCELLED, allowed_from=[OrderStatus.CANCELLING], reason=reason, reason_code=reason_code
    )
    if cancelled and actor:
        record_cancelled_by(order_id=order_id, actor=actor)
    elif not cancelled:
        order.transition(to=OrderStatus.FAILED, allowed_from=FAILABLE, reason=reason, reason_code=reason_code)


def claim_for_cancellation(subject: str) -> None:
    """Make the order CANCELLING, so that no runner can accept it, before anything is undone.

    `subject` is the order's id. Raises CannotCancel, UnknownOrder.
    """
    won = Order.objects.filter(pk=subject).transition(to=OrderStatus.CANCELLING, allowed_from=CANCELLABLE)
    if not won:
        raise _too_late(CannotCancel, subject, "cancelled")


def refuse_cancellation(subject: str) -> None:
    """The sagas after CREATED are not cancelled themselves; their order is. Always raises CannotCancel."""
    raise CannotCancel(f"Cancel order {subject} instead.", order_id=subject)


def record_cancelled_by(*, order_id: str, actor: str) -> None:
    """Store in which role this user cancelled, unless that is known."""
    order = Order.objects.filter(pk=order_id, cancelled_by="").first()
    if order is not None:
        Order.objects.filter(pk=order_id, cancelled_by="").update(cancelled_by=roles.role_of(actor, order))


def claim_for_acceptance(*, order_id: str, runner: str) -> None:
    """Give the order to the first runner who asks within its acceptance window. Raises CannotAccept, UnknownOrder."""
    open_orders = Order.objects.filter(pk=order_id, accept_by__gt=database_now())
    if not open_orders.transition(to=OrderStatus.ACCEPTED, allowed_from=[OrderStatus.CREATED], runner=runner):
        raise _too_late(CannotAccept, order_id, "accepted")


def return_to_created(*, order_id: str, runner: str) -> None:
    """Undo the acceptance: the order waits for a runner again. Its acceptance window does not change."""
    accepted = Order.objects.filter(pk=order_id, runner=runner)
    accepted.transition(to=OrderStatus.CREATED, allowed_from=[OrderStatus.ACCEPTED], runner="")


def confirm_acceptance(*, order_id: str) -> None:
    """The money is captured: the runner may start."""
    Order.objects.filter(pk=order_id, accepted_at=None).update(accepted_at=database_now())


def complete_order(*, order_id: str, runner: str) -> None:
    """The runner has delivered the order, after its money was captured. Raises CannotComplete, UnknownOrder."""
    carried = Order.objects.filter(pk=order_id, runner=runner, accepted_at__isnull=False)
    won = carried.transition(to=OrderStatus.COMPLETED, allowed_from=[OrderStatus.ACCEPTED], completed_at=database_now())
    if not won:
        raise _too_late(CannotComplete, order_id, "completed")


def claim_for_refund(*, order_id: str) -> None:
    """Make an accepted or completed order CANCELLING. Raises CannotCancel, also while another saga works on it."""
    if not Order.objects.filter(pk=order_id).transition(to=OrderStatus.CANCELLING, allowed_from=REFUNDABLE):
        raise _too_late(CannotCancel, order_id, "cancelled")
    if sagas.unsettled(order_id, names=BEFORE_A_REFUND):
        raise CannotCancel("Another saga is still working on the order.", order_id=order_id)


def _too_late(error: type[OrderError], order_id: str, action: str) -> OrderError:
    """The error for a compare-and-set that changed no row, with the order's current status."""
    status = Order.objects.filter(pk=order_id).values_list("status", flat=True).first()
    if status is None:
        return UnknownOrder(f"There is no order {order_id}.")
    return error(f"The order is {status} and can't be {action}.", order_id=order_id, order_status=status)
