"""Accept an order: the first runner gets it, then the customer pays."""

from __future__ import annotations

from django.conf import settings

from orders import services as orders
from orders.sagas.create_order import GATEWAY
from orders.sagas.inputs import AcceptanceRequest
from payments import steps as payments
from sagas import Saga, undo
from timers import steps as timers

accept_order = (
    Saga(
        "accept_order",
        takes=AcceptanceRequest,
        deadline=settings.SAGA_DEADLINE,
        on_cancel=orders.refuse_cancellation,
        publishes=("order_id", "payment_id", "runner"),
    )
    .step(
        orders.claim_for_acceptance,
        done="order.acceptance_claimed",
        failed="order.acceptance_failed",
        compensate=undo(orders.return_to_created, done="order.acceptance_returned"),
    )
    .step(
        timers.cancel_timer,
        done="timer.cancelled",
        failed="timer.cancel_failed",
        compensate=undo(timers.restore_timer, done="timer.restored"),
    )
    .pivot(  # the customer has paid
        payments.capture_payment,
        done="payment.captured",
        failed="payment.capture_failed",
        remote=True,
        retry=GATEWAY,
        uses="stripe",
    )
    .then(orders.confirm_acceptance, done="order.accepted")
)
