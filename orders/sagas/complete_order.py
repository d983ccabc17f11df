"""Complete an order: it is delivered, so restaurant, runner and platform are paid."""

from __future__ import annotations

from orders import inventory
from orders import services as orders
from orders.sagas.create_order import GATEWAY
from orders.sagas.inputs import CompletionRequest
from payments import steps as payments
from sagas.definition.saga import Saga

EVENTS: dict[str, tuple[str, str | None]] = {
    "complete_order": ("order.completed", "order.completion_failed"),
    "consume_inventory": ("inventory.consumed", "inventory.consumption_failed"),
    "release_escrow": ("escrow.released", "escrow.release_failed"),
}

complete_order = (
    Saga(
        "complete_order",
        takes=CompletionRequest,
        on_cancel=orders.refuse_cancellation,
        events=EVENTS,
        publishes=("order_id", "restaurant", "runner"),
    )
    .pivot(orders.complete_order)  # delivered: that cannot be undone
    .then(inventory.consume_inventory)
    .then(payments.release_escrow, remote=True, retry=GATEWAY, uses="stripe")
)
