"""Refund an order: an operator takes back what was accepted or delivered, and the customer gets the money back."""

from __future__ import annotations

from orders import inventory
from orders import services as orders
from orders.sagas.create_order import GATEWAY
from orders.sagas.inputs import RefundRequest
from payments import steps as payments
from sagas import Saga

refund_order = (
    Saga(
        "refund_order",
        takes=RefundRequest,
        on_cancel=orders.refuse_cancellation,
        publishes=("order_id", "payment_id", "reason_code", "reason"),
    )
    .pivot(  # decided: from here on the customer gets the money back
        orders.claim_for_refund, done="order.refund_started", failed="order.refund_refused"
    )
    .then(
        payments.revert_payment,
        done="payment.reverted",
        failed="payment.revert_failed",
        remote=True,
        retry=GATEWAY,
        uses="stripe",
    )
    .then(payments.cancel_escrow, done="escrow.cancelled", failed="escrow.cancel_failed")
    .then(inventory.release_inventory, done="inventory.released", failed="inventory.release_failed")
    .then(orders.cancel_order, done="order.cancelled")
)
