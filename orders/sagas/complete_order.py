"""Complete an order: it is delivered, so everybody gets their share."""

from __future__ import annotations

from orders import inventory
from orders import services as orders
from orders.sagas.create_order import GATEWAY
from orders.sagas.inputs import CompletionRequest
from payments import steps as payments
from sagas import Saga

complete_order = (
    Saga(
        "complete_order",
        takes=CompletionRequest,
        on_cancel=orders.refuse_cancellation,
        publishes=("order_id", "restaurant", "runner"),
    )
    .pivot(  # delivered: nothing takes that back
        orders.complete_order, done="order.completed", failed="order.completion_failed"
    )
    .then(inventory.consume_inventory, done="inventory.consumed", failed="inventory.consumption_failed")
    .then(
        payments.release_escrow,
        done="escrow.released",
        failed="escrow.release_failed",
        remote=True,
        retry=GATEWAY,
        uses="stripe",
    )
)
