"""The stock: look, promise, give back, hand over. Rows are always taken in the order of their sku.

Callers bring the transaction: the engine's for saga steps, one per order for the sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from orders.errors import OutOfStock, ReservationExpired
from orders.models import MenuItem, Order, OrderStatus, ReservationStatus, StockReservation
from sagas.models import SagaInstance
from sagas.statuses import Status
from timers.clock import database_now

# Longer than a create-order saga may take with all its retries, unless it waits for what is on hold.
RESERVATION_WINDOW = timedelta(minutes=15)
SWEEP_BATCH_SIZE = 200

#: An order in one of these statuses has no right to food whose reservation ran out.
_NOT_CONFIRMED = (OrderStatus.PENDING_PAYMENT, OrderStatus.FAILED, OrderStatus.CANCELLED)


def quantities(lines: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How much of each sku the lines ask for together, in the order of the skus; free lines ask for nothing."""
    wanted: dict[str, int] = {}
    for line in lines:
        if line["sku"] is not None:
            wanted[line["sku"]] = wanted.get(line["sku"], 0) + line["quantity"]
    return dict(sorted(wanted.items()))


def require_available(wanted: Mapping[str, int], items: Mapping[str, MenuItem]) -> None:
    """Raises OutOfStock naming every item of which less is available than wanted."""
    short = [_shortage(sku, items.get(sku), quantity) for sku, quantity in wanted.items()]
    missing = [shortage for shortage in short if shortage]
    if missing:
        names = ", ".join(f"{entry['name']} ({entry['available']} left)" for entry in missing)
        raise OutOfStock(f"Not enough in stock: {names}.", items=missing)


def _shortage(sku: str, item: MenuItem | None, quantity: int) -> dict[str, Any] | None:
    available = item.available if item is not None and item.is_active else 0
    if available >= quantity:
        return None
    name = item.name if item is not None else sku
    return {"product_id": sku, "name": name, "wanted": quantity, "available": available}


def validate(lines: Iterable[Mapping[str, Any]]) -> None:
    """Look without touching: raises OutOfStock when the lines ask for more than there is."""
    wanted = quantities(lines)
    if wanted:
        require_available(wanted, MenuItem.objects.in_bulk(list(wanted)))


def reserve(*, order_id: str, lines: Iterable[Mapping[str, Any]]) -> None:
    """Promise the lines' stock to the order, all or nothing (the caller's transaction rolls back a part)."""
    wanted = quantities(lines)
    for sku, quantity in wanted.items():
        if not MenuItem.objects.reserve(sku, quantity):
            require_available({sku: quantity}, MenuItem.objects.in_bulk([sku]))
            raise OutOfStock(f"{sku} is not available.")
    expires_at = database_now(RESERVATION_WINDOW)
    StockReservation.objects.bulk_create(
        StockReservation(order_id=order_id, item_id=sku, quantity=quantity, expires_at=expires_at)
        for sku, quantity in wanted.items()
    )


def confirm(*, order_id: str) -> None:
    """From now on only the order's own end gives the food back. Raises ReservationExpired if some went back before."""
    reservations = StockReservation.objects.filter(order_id=order_id)
    if reservations.exclude(status=ReservationStatus.HELD).exists():
        raise ReservationExpired("The payment took longer than the food could be kept.")
    reservations.update(expires_at=None)


def release(*, order_id: str) -> int:
    """Give back what the order still holds; right also when it holds nothing. Answers how many items."""
    return _settle(order_id, as_status=ReservationStatus.RELEASED)


def consume(*, order_id: str) -> int:
    """The food has left the house: take it off the stock."""
    return _settle(order_id, as_status=ReservationStatus.CONSUMED)


def _settle(order_id: str, *, as_status: ReservationStatus) -> int:
    held = StockReservation.objects.held().filter(order_id=order_id).order_by("item_id")
    settled = 0
    for reservation in held.select_for_update():
        if not StockReservation.objects.filter(pk=reservation.pk).settle(as_status=as_status):
            continue
        change = MenuItem.objects.release if as_status == ReservationStatus.RELEASED else MenuItem.objects.consume
        change(reservation.item_id, reservation.quantity)
        settled += 1
    return settled


def release_expired(*, limit: int = SWEEP_BATCH_SIZE) -> int:
    """Give back reservations that ran out before their order was confirmed; answers how many items.

    An order that waits for a dependency on hold, or has since been let go, is not abandoned: its saga's deadline stood
    still meanwhile.
    """
    now = database_now()
    expired = StockReservation.objects.held().filter(expires_at__lte=now, order__status__in=_NOT_CONFIRMED)
    under_way = SagaInstance.objects.filter(status=Status.STARTED, created_at__lte=now - RESERVATION_WINDOW)
    under_way = under_way.filter(~Q(held_by="") | Q(deadline_at__gt=now))
    expired = expired.exclude(order__saga_id__in=under_way.values("id"))
    order_ids = expired.order_by("order_id").values_list("order_id", flat=True).distinct()[:limit]
    return sum(_release_abandoned(str(order_id)) for order_id in order_ids)


@transaction.atomic
def _release_abandoned(order_id: str) -> int:
    """Under the order's row lock, so that a confirmation either came before or finds the reservation gone."""
    order = Order.objects.select_for_update().filter(pk=order_id, status__in=_NOT_CONFIRMED).first()
    return release(order_id=order_id) if order else 0
