"""Refund an order: an operator cancels it after a runner accepted it, and the customer gets the money back."""

from __future__ import annotations

from orders import inventory
from orders import services as orders
from orders.sagas.create_order import GATEWAY
from orders.sagas.inputs import RefundRequest
from payments import steps as payments
from sagas.definition.saga import Saga

EVENTS: dict[str, tuple[str, str | None]] = {
    "claim_for_refund": ("order.refund_started", "order.refund_refused"),
    "revert_payment": ("payment.reverted", "payment.revert_failed"),
    "cancel_escrow": ("escrow.cancelled", "escrow.cancel_failed"),
    "release_inventory": ("inventory.released", "inventory.release_failed"),
    "cancel_order": ("order.cancelled", None),
}

refund_order = (
    Saga(
        "refund_order",
        takes=RefundRequest,
        on_cancel=orders.refuse_cancellation,
        events=EVENTS,
        publishes=("order_id", "payment_id", "reason_code", "reason"),
    )
    .pivot(orders.claim_for_refund)  # decided: from here on the customer gets the money back
    .then(payments.revert_payment, remote=True, retry=GATEWAY, uses="stripe")
    .then(payments.cancel_escrow)
    .then(inventory.release_inventory)
    .then(orders.cancel_order)
)
