"""Who else decides about an order's money.

Payments know no order. The app that does registers two functions here at start-up: a lock, which stops the payments API
while a saga moves the order's money, and one that tells which orders are over.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

#: Raises a Problem while the order with this id is locked.
OrderLock = Callable[[uuid.UUID], None]
#: Returns those of the given orders that are over (cancelled, failed) and may hold nobody's money.
FindEnded = Callable[[list[uuid.UUID]], set[uuid.UUID]]

_locks: list[OrderLock] = []
_find_ended: list[FindEnded] = []


def register(lock: OrderLock) -> None:
    """Ask `lock` before the payments API moves an order's money. Registering it twice is registering it once."""
    if lock not in _locks:
        _locks.append(lock)


def unregister(lock: OrderLock) -> None:
    _locks.remove(lock)


def require_free(order_id: uuid.UUID) -> None:
    """Raise the lock's Problem if only a saga may move this order's money now."""
    for lock in _locks:
        lock(order_id)


def register_ended_orders(find: FindEnded) -> None:
    """Ask `find` which orders are over. Registering it twice is registering it once."""
    if find not in _find_ended:
        _find_ended.append(find)


def unregister_ended_orders(find: FindEnded) -> None:
    _find_ended.remove(find)


def ended_orders(order_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the given orders that are over. An order nobody knows is not."""
    return {order_id for find in _find_ended for order_id in find(order_ids)} if order_ids else set()
