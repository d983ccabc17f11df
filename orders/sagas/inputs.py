"""The input of each saga: all that its steps and compensations need, fixed before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OrderRequest:
    """What create_order takes. All values can be stored as JSON.

    A line is `{sku: str | None, name: str, unit_price_cents: int, quantity: int}`; a free line has no sku.
    `owner` is the user the order belongs to, `customer_id` the name the client gave that user. `details` is the rest of
    the request. An empty `payment_method` means the one stored for the owner. `restaurant` is empty if all lines are
    free.
    """

    order_id: str
    payment_id: str
    owner: str
    customer_id: str
    lines: list[dict[str, Any]]
    delivery_location: str
    details: dict[str, Any]
    food_cents: int
    delivery_fee_cents: int
    total_cents: int
    currency: str
    payment_method: str = ""
    restaurant: str = ""


@dataclass(frozen=True)
class AcceptanceRequest:
    """What accept_order takes: which runner accepts which order."""

    order_id: str
    payment_id: str
    runner: str


@dataclass(frozen=True)
class CompletionRequest:
    """What complete_order takes: who is paid for which order."""

    order_id: str
    restaurant: str
    runner: str


@dataclass(frozen=True)
class RefundRequest:
    """What refund_order takes: which order is cancelled after it was accepted, and why."""

    order_id: str
    payment_id: str
    reason: str
    reason_code: str
