"""Placing an order: check it against the menu, then start the saga.

All that a customer can get wrong is refused here, before anything is written. The saga refuses what can only happen
later: somebody else orders the last portion, or the bank declines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

import sagas
from orders import inventory
from orders.errors import (
    CurrencyMismatch,
    NothingToPay,
    PriceChanged,
    SeveralRestaurants,
    TotalTooLarge,
    UnknownProduct,
)
from orders.models import MenuItem
from orders.sagas import create_order
from orders.sagas.inputs import OrderRequest
from payments.money import to_cents
from payments.services import check_payment_method
from sagas import uuid7

# The largest payment the provider takes: eight digits of cents.
MAX_TOTAL = Decimal("999999.99")


@dataclass(frozen=True)
class NewLine:
    """A line as the customer sent it; without a sku it is a free line."""

    sku: str | None
    name: str
    price: Decimal
    quantity: int


@dataclass(frozen=True)
class NewOrder:
    """An order as the customer sent it, in either of the API's two forms. `details` is the rest of the request."""

    customer_id: str
    lines: Sequence[NewLine]
    delivery_location: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    payment_method: str = ""


@dataclass(frozen=True)
class Placed:
    order_id: str
    saga_id: str
    saga_status: str


def prepare(order: NewOrder, *, owner: str) -> OrderRequest:
    """Return the saga's input, with current prices and new ids. Writes nothing.

    Raises UnknownProduct, CurrencyMismatch, PriceChanged, SeveralRestaurants, TotalTooLarge, NothingToPay, OutOfStock,
    UnknownPaymentMethod.
    """
    items = _menu_items(order.lines)
    lines = [_line(line, items) for line in order.lines]
    food = sum((line.price * line.quantity for line in order.lines), Decimal(0))
    fee = Decimal(settings.DELIVERY_FEE)
    _require_payable(food + fee)
    inventory.require_available(inventory.quantities(lines), items)
    check_payment_method(order.payment_method)
    return OrderRequest(
        order_id=str(uuid7()),
        payment_id=str(uuid7()),
        owner=owner,
        customer_id=order.customer_id,
        lines=lines,
        delivery_location=order.delivery_location,
        details=dict(order.details),
        food_cents=to_cents(food),
        delivery_fee_cents=to_cents(fee),
        total_cents=to_cents(food + fee),
        currency=settings.CURRENCY,
        payment_method=order.payment_method,
        restaurant=_restaurant(items),
    )


def place(request: OrderRequest) -> Placed:
    """Start the saga. Its first step writes the order in the same transaction."""
    with transaction.atomic():
        saga = sagas.start(
            create_order,
            input=request,
            key=f"create_order:{request.order_id}",
            subject=request.order_id,
            owner=request.owner,
        )
    return Placed(request.order_id, str(saga.id), str(saga.status.value))


def _menu_items(lines: Sequence[NewLine]) -> dict[str, MenuItem]:
    """The menu items the lines name, by sku. Raises UnknownProduct, CurrencyMismatch or PriceChanged."""
    wanted = sorted({line.sku for line in lines if line.sku is not None})
    items: dict[str, MenuItem] = MenuItem.objects.on_sale().in_bulk(wanted) if wanted else {}
    unknown = [sku for sku in wanted if sku not in items]
    if unknown:
        raise UnknownProduct(f"Not on the menu: {', '.join(unknown)}.", product_ids=unknown)
    foreign = [sku for sku, item in items.items() if item.currency != settings.CURRENCY]
    if foreign:
        raise CurrencyMismatch(f"Not sold in {settings.CURRENCY}: {', '.join(foreign)}.", product_ids=foreign)
    _require_current_prices(lines, items)
    return items


def _restaurant(items: Mapping[str, MenuItem]) -> str:
    """The restaurant that makes the food and is paid for it; empty if all lines are free. Raises SeveralRestaurants."""
    names = sorted({item.restaurant for item in items.values()})
    if len(names) > 1:
        raise SeveralRestaurants(f"One order can't be made by {' and '.join(names)}.", restaurants=names)
    return names[0] if names else ""


def _require_current_prices(lines: Sequence[NewLine], items: Mapping[str, MenuItem]) -> None:
    changed = {
        line.sku: str(items[line.sku].price)
        for line in lines
        if line.sku is not None and items[line.sku].price != line.price
    }
    if changed:
        names = ", ".join(f"{sku} costs {price}" for sku, price in changed.items())
        raise PriceChanged(f"The menu's prices differ: {names}.", current_prices=changed)


def _line(line: NewLine, items: Mapping[str, MenuItem]) -> dict[str, Any]:
    name = line.name if line.sku is None else items[line.sku].name
    return {"sku": line.sku, "name": name, "unit_price_cents": to_cents(line.price), "quantity": line.quantity}


def _require_payable(total: Decimal) -> None:
    if total > MAX_TOTAL:
        raise TotalTooLarge(f"The total of {total} is over {MAX_TOTAL}.", maximum=str(MAX_TOTAL))
    if total <= 0:
        raise NothingToPay("The total is zero.")
