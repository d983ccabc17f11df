"""Create an order: reserve the food, secure the money, then give runners 30 minutes."""

from __future__ import annotations

from django.conf import settings

from orders import inventory
from orders import services as orders
from orders.sagas.inputs import OrderRequest
from payments import steps as payments
from sagas.definition.saga import Retry, Saga, best_effort
from timers import steps as timers

GATEWAY = Retry(retries=settings.STEP_RETRIES, first=settings.STEP_RETRY_DELAY)

#: The event of each step and compensation when it is done, and the one when it has failed for good.
EVENTS: dict[str, tuple[str, str | None]] = {
    "create_order": ("order.created", "order.creation_failed"),
    "validate_inventory": ("inventory.validated", "inventory.validation_failed"),
    "reserve_inventory": ("inventory.reserved", "inventory.reservation_failed"),
    "get_payment_info": ("user.payment_info_retrieved", "user.payment_info_failed"),
    "authorize_payment": ("payment.authorized", "payment.failed"),
    "hold_escrow": ("escrow.held", "escrow.failed"),
    "confirm_order": ("order.status_updated", "order.status_update_failed"),
    "start_timer": ("timer.started", "timer.failed"),
    "cancel_timer": ("timer.cancelled", None),
    "cancel_escrow": ("escrow.cancelled", None),
    "revert_payment": ("payment.reverted", None),
    "release_inventory": ("inventory.released", None),
    "cancel_order": ("order.cancelled", None),
}

#: The order service's older names of the same events; both are published.
ALIASES: dict[str, tuple[str, ...]] = {
    "order.created": ("domain.order.OrderCreated", "domain.order.ValidateInventory"),
    "inventory.validated": ("domain.order.ReserveInventory",),
    "inventory.reserved": ("domain.order.ProcessPayment",),
    "payment.failed": ("domain.order.ReleaseInventory",),
    "order.status_updated": ("domain.order.OrderCompleted",),
    "saga.compensated": ("domain.order.OrderFailed",),
    "saga.failed": ("domain.order.OrderFailed",),
}

create_order = (
    Saga(
        "create_order",
        takes=OrderRequest,
        deadline=settings.SAGA_DEADLINE,
        on_cancel=orders.claim_for_cancellation,
        events=EVENTS,
        publishes=("order_id", "payment_id", "customer_id", "total_cents", "currency"),
        aliases=ALIASES,
    )
    .step(orders.create_order, compensate=orders.cancel_order)
    .read(inventory.validate_inventory)
    .step(inventory.reserve_inventory, compensate=inventory.release_inventory)
    .read(payments.get_payment_info)
    .call(payments.authorize_payment, compensate=payments.revert_payment, retry=GATEWAY, uses="stripe")
    .step(payments.hold_escrow, compensate=payments.cancel_escrow)
    .pivot(orders.confirm_order)  # CREATED: from here on a failure goes forward, not back
    .then(timers.start_timer, compensate=best_effort(timers.cancel_timer))
)
