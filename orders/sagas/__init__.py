"""The product's sagas. Importing this package registers them with the engine."""

from orders.sagas.accept_order import accept_order
from orders.sagas.complete_order import complete_order
from orders.sagas.create_order import create_order
from orders.sagas.refund_order import refund_order
from sagas import register

__all__ = ["accept_order", "complete_order", "create_order", "refund_order"]

register(create_order, accept_order, complete_order, refund_order)
