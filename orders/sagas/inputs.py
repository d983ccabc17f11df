"""What the sagas take: everything their steps and undos need, minted or frozen before they start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OrderRequest:
    """JSON-able throughout. A line is `{sku or None, name, unit_price_cents, quantity}`.

    `owner` is the user the order belongs to, `customer_id` the label the client gave that user. An empty
    `payment_method` means the one stored for the owner.
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
    """What an accept-order saga takes: which runner wants which order."""

    order_id: str
    payment_id: str
    runner: str


@dataclass(frozen=True)
class CompletionRequest:
    """What a complete-order saga takes: who is to be paid for which order."""

    order_id: str
    restaurant: str
    runner: str


@dataclass(frozen=True)
class RefundRequest:
    """What a refund-order saga takes: which order is taken back after it was accepted, and why."""

    order_id: str
    payment_id: str
    reason: str
    reason_code: str
