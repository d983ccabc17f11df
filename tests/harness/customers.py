"""People who order lunch, some of whom change their minds; all of it from one seed."""

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
#: How often each way to pay is met.
METHODS = {VISA: 12, DECLINED[0]: 2, DECLINED[1]: 2, LOSES_REPLY: 3, LOSES_REQUEST: 1}
CANCELLED_SHARE = 0.12

BURGER = ("burger", "Burger", "12.99")
#: Sells out on the way.
SPECIAL = ("special", "Chef's special", "18.00")
SPECIAL_PORTIONS = 25


@dataclass
class Wish:
    """One customer's order: when, what, how it is paid, and after how long they cancel, if they do."""

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


def wishes(count: int, *, over_seconds: float, chance: random.Random) -> list[Wish]:
    """`count` wishes spread evenly, each with its own fate."""
    return [_wish(number, number * over_seconds / count, chance) for number in range(count)]


def _wish(number: int, at: float, chance: random.Random) -> Wish:
    method = chance.choices(list(METHODS), weights=list(METHODS.values()))[0]
    cancels_after = chance.uniform(0, 4) if chance.random() < CANCELLED_SHARE else None
    return Wish(at=at, number=number, method=method, lines=_lines(chance), cancels_after=cancels_after)


def _lines(chance: random.Random) -> list[NewLine]:
    free = NewLine(sku=None, name="Extra napkins", price=Decimal("0.50"), quantity=chance.randint(1, 3))
    dish = SPECIAL if chance.random() < 0.15 else BURGER
    stocked = NewLine(sku=dish[0], name=dish[1], price=Decimal(dish[2]), quantity=chance.randint(1, 3))
    return chance.choice([[free], [stocked], [stocked], [stocked, free]])


@dataclass
class Customers:
    """Place and cancel through the product's own services; keep what was answered."""

    answers: Counter[str] = field(default_factory=Counter)

    def place(self, wish: Wish) -> None:
        owner = f"customer-{wish.number % 20}"
        order = NewOrder(customer_id=owner, lines=wish.lines, payment_method=wish.method)
        try:
            placed = placing.place(placing.prepare(order, owner=owner))
        except OrderError as refusal:  # sold out, said at the door
            wish.refusal = refusal.code
            self.answers[f"refused: {refusal.code}"] += 1
            return
        wish.order_id = placed.order_id
        self.answers["placed"] += 1

    def cancel(self, wish: Wish) -> None:
        try:
            cancelling.cancel(
                Order.objects.get(pk=wish.order_id), reason_code="customer_request", reason="", actor="customer",
            )  # fmt: skip
        except Problem as refusal:  # failed or cancelled already
            self.answers[f"cancel refused: {refusal.code}"] += 1
            return
        wish.is_cancelled = True
        self.answers["cancel accepted"] += 1


def expected_status(wish: Wish, reason_code: str) -> str:
    """What must have become of an order, whatever was killed meanwhile: trouble of ours is never the customer's."""
    if wish.is_cancelled:
        return "CANCELLED"
    if wish.method in DECLINED:
        return "FAILED"
    if wish.is_for_special and reason_code == "order.out_of_stock":
        return "FAILED"
    return "CREATED"
