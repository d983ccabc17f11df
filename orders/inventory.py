"""The stock: check, reserve, release, consume. Rows are always locked in the order of their sku.

Callers bring the transaction: the engine's for the saga steps, one per order for the sweep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction

import sagas
from orders.errors import OutOfStock, ReservationExpired
from orders.models import MenuItem, Order, OrderStatus, ReservationStatus, StockReservation
from timers.clock import database_now

# Longer than a create-order saga may take with all its retries, unless it waits for a dependency on hold.
RESERVATION_WINDOW = timedelta(minutes=15)
SWEEP_BATCH_SIZE = 200

#: An order in one of these statuses has no right to food whose reservation has expired.
_NOT_CONFIRMED = (OrderStatus.PENDING_PAYMENT, OrderStatus.FAILED, OrderStatus.CANCELLED)


def validate_inventory(*, lines: list[dict[str, Any]]) -> None:
    """Check that the stock is enough for the lines (see `OrderRequest`). Changes nothing. Raises OutOfStock."""
    wanted = quantities(lines)
    if wanted:
        require_available(wanted, MenuItem.objects.in_bulk(list(wanted)))


def reserve_inventory(*, order_id: str, lines: list[dict[str, Any]]) -> None:
    """Reserve the lines' stock for the order. Raises OutOfStock; the caller's rollback then undoes the rest."""
    wanted = quantities(lines)
    for sku, quantity in wanted.items():
        if not MenuItem.objects.reserve_stock(sku, quantity):
            require_available({sku: quantity}, MenuItem.objects.in_bulk([sku]))
            raise OutOfStock(f"{sku} is not available.")
    expires_at = database_now(RESERVATION_WINDOW)
    StockReservation.objects.bulk_create(
        StockReservation(order_id=order_id, item_id=sku, quantity=quantity, expires_at=expires_at)
        for sku, quantity in wanted.items()
    )


def release_inventory(*, order_id: str) -> None:
    """Give back what the order still reserves. Does nothing if it reserves nothing."""
    end_reservations(order_id, as_status=ReservationStatus.RELEASED)


def consume_inventory(*, order_id: str) -> None:
    """The food was delivered: subtract what the order reserves from the stock."""
    end_reservations(order_id, as_status=ReservationStatus.CONSUMED)


def confirm_reservations(*, order_id: str) -> None:
    """From now on the order's reservations do not expire. Raises ReservationExpired if one was released before."""
    reservations = StockReservation.objects.filter(order_id=order_id)
    if reservations.exclude(status=ReservationStatus.HELD).exists():
        raise ReservationExpired("The payment took longer than the food could be reserved.")
    reservations.update(expires_at=None)


def end_reservations(order_id: str, *, as_status: ReservationStatus) -> int:
    """End the reservations that the order still holds, as RELEASED or CONSUMED. Returns how many it ended."""
    change = MenuItem.objects.release_stock
    if as_status == ReservationStatus.CONSUMED:
        change = MenuItem.objects.consume_stock
    ended = 0
    held = StockReservation.objects.held().filter(order_id=order_id).order_by("item_id")
    for reservation in held.select_for_update():
        if StockReservation.objects.filter(pk=reservation.pk).end(as_status=as_status):
            change(reservation.item_id, reservation.quantity)
            ended += 1
    return ended


def quantities(lines: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The quantity of each sku over all lines, sorted by sku. Free lines (`sku` is None) count nothing."""
    wanted: dict[str, int] = {}
    for line in lines:
        if line["sku"] is not None:
            wanted[line["sku"]] = wanted.get(line["sku"], 0) + line["quantity"]
    return dict(sorted(wanted.items()))


def require_available(wanted: Mapping[str, int], items: Mapping[str, MenuItem]) -> None:
    """Raise OutOfStock if less of an item is available than wanted.

    Its `items` lists each: `{product_id, name, wanted, available}`.
    """
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


def release_expired(*, limit: int = SWEEP_BATCH_SIZE) -> int:
    """Release reservations that expired before their order was confirmed, of at most `limit` orders. Returns how many.

    Left alone are the orders whose saga waits for a dependency on hold, or waited and goes on again: its deadline did
    not run meanwhile.
    """
    now = database_now()
    expired = StockReservation.objects.held().filter(expires_at__lte=now, order__status__in=_NOT_CONFIRMED)
    expired = expired.exclude(order__saga_id__in=sagas.within_deadline(now))
    order_ids = expired.order_by("order_id").values_list("order_id", flat=True).distinct()[:limit]
    return sum(_release_expired_of(str(order_id)) for order_id in order_ids)


@transaction.atomic
def _release_expired_of(order_id: str) -> int:
    """Lock the order's row first: a confirmation came before, or it finds the reservation released."""
    order = Order.objects.select_for_update().filter(pk=order_id, status__in=_NOT_CONFIRMED).first()
    return end_reservations(order_id, as_status=ReservationStatus.RELEASED) if order else 0
