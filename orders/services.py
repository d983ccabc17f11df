"""What can happen to an order. Every change is a compare-and-set; the loser learns the order's current status.

These functions are called inside a transaction of the engine, which holds the saga's row: saga, order, payment,
stock is the order in which rows are locked everywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from orders import inventory
from orders.errors import CannotAccept, CannotCancel, CannotComplete, OrderError, UnknownOrder, WrongStatus
from orders.models import Order, OrderLine, OrderStatus
from payments.money import from_cents
from sagas.models import OPEN, Action, SagaEvent, SagaInstance, Status
from timers.clock import database_now

CANCELLABLE = (OrderStatus.PENDING_PAYMENT, OrderStatus.CREATED)
FAILABLE = (OrderStatus.PENDING_PAYMENT, OrderStatus.CREATED)
#: The actor of what nobody asked for: the clock.
SYSTEM = "system"
REFUNDABLE = (OrderStatus.ACCEPTED, OrderStatus.COMPLETED)
#: Sagas that move an order's money, and the statuses in which they still may.
BEFORE_A_REFUND = ("accept_order", "complete_order")
UNSETTLED = (*OPEN, Status.NEEDS_ATTENTION)


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
    """Write the order down as `pendingPayment`, with its lines at the prices of this moment."""
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
    """The money is held and the food is kept: from now on runners have the acceptance window to take the order."""
    won = Order.objects.filter(pk=order_id).transition(
        to=OrderStatus.CREATED,
        allowed_from=[OrderStatus.PENDING_PAYMENT],
        accept_by=database_now(settings.ORDER_ACCEPTANCE_WINDOW),
    )
    if not won:
        raise _lost(WrongStatus, order_id, "confirmed")
    inventory.confirm(order_id=order_id)


def cancel_order(*, order_id: str, saga_id: str, reason: str, reason_code: str) -> None:
    """End the order: CANCELLED if somebody asked for that, FAILED if a step failed. Right also when there is none."""
    order = Order.objects.filter(pk=order_id)
    cancelled = order.transition(
        to=OrderStatus.CANCELLED, allowed_from=[OrderStatus.CANCELLING], reason=reason, reason_code=reason_code
    )
    if cancelled:
        _name_who_cancelled(order_id, saga_id)
    else:
        order.transition(to=OrderStatus.FAILED, allowed_from=FAILABLE, reason=reason, reason_code=reason_code)


def claim_for_cancellation(subject: str) -> None:
    """Close the door to runners before anything is undone; `subject` is the order's id. Raises CannotCancel."""
    won = Order.objects.filter(pk=subject).transition(to=OrderStatus.CANCELLING, allowed_from=CANCELLABLE)
    if not won:
        raise _lost(CannotCancel, subject, "cancelled")


def _name_who_cancelled(order_id: str, saga_id: str) -> None:
    """Whoever cancelled the saga itself (by its own address, in the admin, or the clock) cancelled the order."""
    order = Order.objects.filter(pk=order_id, cancelled_by="").first()
    if order is None:
        return
    asked = SagaEvent.objects.filter(saga_id=saga_id, action=Action.CANCELLATION_STARTED).order_by("seq").first()
    if asked is not None and asked.actor:
        known = {order.owner: "customer", SYSTEM: SYSTEM}
        note_cancelled_by(order_id=order_id, actor=known.get(asked.actor, "operator"))


def note_cancelled_by(*, order_id: str, actor: str) -> None:
    Order.objects.filter(pk=order_id, cancelled_by="").update(cancelled_by=actor)


def claim_for_acceptance(*, order_id: str, runner: str) -> None:
    """The first runner gets the order, as long as its time is not up. Raises CannotAccept."""
    open_orders = Order.objects.filter(pk=order_id, accept_by__gt=database_now())
    if not open_orders.transition(to=OrderStatus.ACCEPTED, allowed_from=[OrderStatus.CREATED], runner=runner):
        raise _lost(CannotAccept, order_id, "accepted")


def return_to_created(*, order_id: str, runner: str) -> None:
    """The acceptance could not go through: the order waits for a runner again, its window as it was."""
    accepted = Order.objects.filter(pk=order_id, runner=runner)
    accepted.transition(to=OrderStatus.CREATED, allowed_from=[OrderStatus.ACCEPTED], runner="")


def confirm_acceptance(*, order_id: str) -> None:
    """The money is captured: the runner may set off."""
    Order.objects.filter(pk=order_id, accepted_at=None).update(accepted_at=database_now())


def complete_order(*, order_id: str, runner: str) -> None:
    """Delivered by the runner who carries it, after its money was captured. Raises CannotComplete."""
    carried = Order.objects.filter(pk=order_id, runner=runner, accepted_at__isnull=False)
    won = carried.transition(to=OrderStatus.COMPLETED, allowed_from=[OrderStatus.ACCEPTED], completed_at=database_now())
    if not won:
        raise _lost(CannotComplete, order_id, "completed")


def claim_for_refund(*, order_id: str) -> None:
    """Take an accepted or completed order back, once nothing else works on it any more. Raises CannotCancel."""
    if not Order.objects.filter(pk=order_id).transition(to=OrderStatus.CANCELLING, allowed_from=REFUNDABLE):
        raise _lost(CannotCancel, order_id, "cancelled")
    busy = SagaInstance.objects.filter(subject=order_id, name__in=BEFORE_A_REFUND, status__in=UNSETTLED)
    if busy.exists():
        raise CannotCancel("The order is still being worked on.", order_id=order_id)


def refuse_cancellation(subject: str) -> None:
    """An acceptance or a delivery is not taken back by cancelling its saga, but by cancelling the order."""
    raise CannotCancel(f"Cancel order {subject} instead.", order_id=subject)


def _lost(error: type[OrderError], order_id: str, wish: str) -> OrderError:
    """The error for a compare-and-set that found the order elsewhere, with where it is now."""
    status = Order.objects.filter(pk=order_id).values_list("status", flat=True).first()
    if status is None:
        return UnknownOrder(f"There is no order {order_id}.")
    return error(f"The order is {status} and can't be {wish}.", order_id=order_id, order_status=status)
