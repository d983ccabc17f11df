"""What payments must know of orders, registered at start-up because payments know no order."""

from __future__ import annotations

import uuid

from orders.errors import OrderKeepsItsMoney
from orders.models import Order, OrderStatus
from payments.flows import order_locks

OVER = (OrderStatus.CANCELLED, OrderStatus.FAILED)
#: Statuses in which a saga looks after the order's money, so that nobody else may move it.
LOOKED_AFTER = (OrderStatus.PENDING_PAYMENT, OrderStatus.CREATED, OrderStatus.ACCEPTED, OrderStatus.CANCELLING)


def register() -> None:
    order_locks.register(require_free)
    order_locks.register_dead_orders(dead_among)


def require_free(order_id: uuid.UUID) -> None:
    """Raise OrderKeepsItsMoney while a saga looks after this order's money."""
    status = Order.objects.filter(pk=order_id, status__in=LOOKED_AFTER).values_list("status", flat=True).first()
    if status is not None:
        raise OrderKeepsItsMoney(f"The order is {status}.", order_id=str(order_id), order_status=status)


def dead_among(order_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the given orders that are over and must not hold anybody's money."""
    return set(Order.objects.filter(pk__in=order_ids, status__in=OVER).values_list("pk", flat=True))
