"""Accept an order: the first runner gets it, then the customer's money is captured."""

from __future__ import annotations

from django.conf import settings

from orders import services as orders
from orders.sagas.create_order import GATEWAY
from orders.sagas.inputs import AcceptanceRequest
from payments import steps as payments
from sagas.definition.saga import Saga
from timers import steps as timers

EVENTS: dict[str, tuple[str, str | None]] = {
    "claim_for_acceptance": ("order.acceptance_claimed", "order.acceptance_failed"),
    "cancel_timer": ("timer.cancelled", "timer.cancel_failed"),
    "capture_payment": ("payment.captured", "payment.capture_failed"),
    "confirm_acceptance": ("order.accepted", None),
    "restore_timer": ("timer.restored", None),
    "return_to_created": ("order.acceptance_returned", None),
}

accept_order = (
    Saga(
        "accept_order",
        takes=AcceptanceRequest,
        deadline=settings.SAGA_DEADLINE,
        on_cancel=orders.refuse_cancellation,
        events=EVENTS,
        publishes=("order_id", "payment_id", "runner"),
    )
    .step(orders.claim_for_acceptance, compensate=orders.return_to_created)
    .step(timers.cancel_timer, compensate=timers.restore_timer)
    .pivot(payments.capture_payment, remote=True, retry=GATEWAY, uses="stripe")  # the customer has paid
    .then(orders.confirm_acceptance)
)
