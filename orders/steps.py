"""The order and inventory side of the sagas: plain functions, wired by name, run by the engine."""

from __future__ import annotations

from typing import Any

from orders import inventory
from orders.services import (
    cancel_order,
    claim_for_acceptance,
    claim_for_refund,
    complete_order,
    confirm_acceptance,
    confirm_order,
    create_order,
    return_to_created,
)

__all__ = [
    "cancel_order",
    "claim_for_acceptance",
    "claim_for_refund",
    "complete_order",
    "confirm_acceptance",
    "confirm_order",
    "consume_inventory",
    "create_order",
    "release_inventory",
    "reserve_inventory",
    "return_to_created",
    "validate_inventory",
]


def validate_inventory(*, lines: list[dict[str, Any]]) -> None:
    inventory.validate(lines)


def reserve_inventory(*, order_id: str, lines: list[dict[str, Any]]) -> None:
    inventory.reserve(order_id=order_id, lines=lines)


def release_inventory(*, order_id: str) -> None:
    inventory.release(order_id=order_id)


def consume_inventory(*, order_id: str) -> None:
    inventory.consume(order_id=order_id)
