"""Who else decides about an order's money.

Payments know no order. Whoever does registers a guard here, once, at start-up; the guard raises a Problem when the
payments API must keep its hands off an order because a saga is taking care of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

Guard = Callable[[uuid.UUID], None]
_guards: list[Guard] = []


def register(guard: Guard) -> None:
    if guard not in _guards:
        _guards.append(guard)


def unregister(guard: Guard) -> None:
    _guards.remove(guard)


def require_free(order_id: uuid.UUID) -> None:
    """Raise the guard's Problem if this order's money is somebody else's to move."""
    for guard in _guards:
        guard(order_id)


DeadOrders = Callable[[list[uuid.UUID]], set[uuid.UUID]]
_dead_orders: list[DeadOrders] = []


def register_dead_orders(tell: DeadOrders) -> None:
    """`tell` says which of the given orders are over (cancelled, failed) and must not hold anybody's money."""
    if tell not in _dead_orders:
        _dead_orders.append(tell)


def unregister_dead_orders(tell: DeadOrders) -> None:
    _dead_orders.remove(tell)


def dead_orders(order_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    return {order_id for tell in _dead_orders for order_id in tell(order_ids)} if order_ids else set()
