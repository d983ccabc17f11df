"""What orders plugs into the apps below it. They know no order; each has a registry, which is filled here at start-up.

timers      what happens when the acceptance timer of an order fires
payments    which orders' money only their own saga may move, and which orders are over
sagas       what cancelling or refunding an order means for it and its money

The saga definitions need no line here: the engine imports `orders.sagas` by itself, and that registers them.
"""

from __future__ import annotations

import uuid

from django.conf import settings

import sagas
from orders.errors import OrderKeepsItsMoney
from orders.models import Order, OrderStatus
from orders.use_cases import expire, preview
from payments.flows import order_locks
from timers import registry as timer_registry

#: The order is over and may hold nobody's money.
OVER = (OrderStatus.CANCELLED, OrderStatus.FAILED)
#: A saga moves the order's money, so nobody else may.
MONEY_MOVED_BY_SAGA = (OrderStatus.PENDING_PAYMENT, OrderStatus.CREATED, OrderStatus.ACCEPTED, OrderStatus.CANCELLING)


def register() -> None:
    """Called once, when all apps are loaded."""
    timer_registry.register(settings.ORDER_ACCEPTANCE_EVENT, expire.on_acceptance_timeout)
    order_locks.register(require_unlocked)
    order_locks.register_ended_orders(find_ended)
    sagas.explain_in_previews("create_order", preview.explain_cancellation)
    sagas.explain_in_previews("refund_order", preview.explain_refund)


def require_unlocked(order_id: uuid.UUID) -> None:
    """Raise OrderKeepsItsMoney while a saga moves this order's money."""
    locked = Order.objects.filter(pk=order_id, status__in=MONEY_MOVED_BY_SAGA)
    status = locked.values_list("status", flat=True).first()
    if status is not None:
        raise OrderKeepsItsMoney(f"The order is {status}.", order_id=str(order_id), order_status=status)


def find_ended(order_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the given orders that are over."""
    return set(Order.objects.filter(pk__in=order_ids, status__in=OVER).values_list("pk", flat=True))
