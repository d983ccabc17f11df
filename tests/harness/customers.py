"""Random customers from one seed: what they order, how they pay, and who cancels."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from orders.errors import OrderError
from orders.models import MenuItem, Order
from orders.use_cases import cancel as cancelling
from orders.use_cases import place as placing
from orders.use_cases.place import NewLine, NewOrder
from sagas.errors import Problem

VISA = "pm_card_visa"
DECLINED = ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds")
LOSES_REPLY = "pm_sandbox_timeout_after"
LOSES_REQUEST = "pm_sandbox_timeout_before"
#: How often each payment method is chosen.
METHODS = {VISA: 12, DECLINED[0]: 2, DECLINED[1]: 2, LOSES_REPLY: 3, LOSES_REQUEST: 1}
CANCELLED_SHARE = 0.12

BURGER = ("burger", "Burger", "12.99")
#: Sells out during a run.
SPECIAL = ("special", "Chef's special", "18.00")
SPECIAL_PORTIONS = 25


@dataclass
class PlannedOrder:
    """One customer's order, and what happened to it.

    It is placed `at` seconds after the start. `cancels_after` is in seconds after that; None: it is not cancelled.
    """

    at: float
    number: int
    method: str
    lines: list[NewLine]
    cancels_after: float | None = None
    order_id: str = ""
    is_cancelled: bool = False
    refusal: str = ""

    @property
    def is_for_special(self) -> bool:
        return any(line.sku == SPECIAL[0] for line in self.lines)


def stock_the_kitchen() -> None:
    for (sku, name, price), stock in ((BURGER, 100_000), (SPECIAL, SPECIAL_PORTIONS)):
        MenuItem.objects.create(sku=sku, name=name, price=Decimal(price), stock=stock, restaurant="Grill")


def planned_orders(count: int, *, over_seconds: float, chance: random.Random) -> list[PlannedOrder]:
    """`count` random orders, spread evenly over this time."""
    return [_planned_order(number, number * over_seconds / count, chance) for number in range(count)]


def _planned_order(number: int, at: float, chance: random.Random) -> PlannedOrder:
    method = chance.choices(list(METHODS), weights=list(METHODS.values()))[0]
    cancels_after = chance.uniform(0, 4) if chance.random() < CANCELLED_SHARE else None
    return PlannedOrder(at=at, number=number, method=method, lines=_lines(chance), cancels_after=cancels_after)


def _lines(chance: random.Random) -> list[NewLine]:
    free = NewLine(sku=None, name="Extra napkins", price=Decimal("0.50"), quantity=chance.randint(1, 3))
    dish = SPECIAL if chance.random() < 0.15 else BURGER
    stocked = NewLine(sku=dish[0], name=dish[1], price=Decimal(dish[2]), quantity=chance.randint(1, 3))
    return chance.choice([[free], [stocked], [stocked], [stocked, free]])


@dataclass
class Customers:
    """Place and cancel orders through the product's own services, and count the results."""

    results: Counter[str] = field(default_factory=Counter)

    def place(self, order: PlannedOrder) -> None:
        owner = f"customer-{order.number % 20}"
        new = NewOrder(customer_id=owner, lines=order.lines, payment_method=order.method)
        try:
            placed = placing.place(placing.prepare(new, owner=owner))
        except OrderError as refusal:  # sold out
            order.refusal = refusal.code
            self.results[f"refused: {refusal.code}"] += 1
            return
        order.order_id = placed.order_id
        self.results["placed"] += 1

    def cancel(self, order: PlannedOrder) -> None:
        try:
            cancelling.cancel(
                Order.objects.get(pk=order.order_id), reason_code="customer_request", reason="", actor="customer",
            )  # fmt: skip
        except Problem as refusal:  # failed or cancelled already
            self.results[f"cancel refused: {refusal.code}"] += 1
            return
        order.is_cancelled = True
        self.results["cancel accepted"] += 1


def expected_status(order: PlannedOrder, reason_code: str) -> str:
    """The status an order must end with. A killed process or server must not change it."""
    if order.is_cancelled:
        return "CANCELLED"
    if order.method in DECLINED:
        return "FAILED"
    if order.is_for_special and reason_code == "order.out_of_stock":
        return "FAILED"
    return "CREATED"
