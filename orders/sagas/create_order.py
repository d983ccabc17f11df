"""Create an order: reserve the food, secure the money, then give runners 30 minutes."""

from __future__ import annotations

from django.conf import settings

from orders import inventory
from orders import services as orders
from orders.sagas.inputs import OrderRequest
from payments import steps as payments
from sagas import Retry, Saga, best_effort, undo
from timers import steps as timers

GATEWAY = Retry(retries=settings.STEP_RETRIES, first=settings.STEP_RETRY_DELAY)

create_order = (
    Saga(
        "create_order",
        takes=OrderRequest,
        deadline=settings.SAGA_DEADLINE,
        on_cancel=orders.claim_for_cancellation,
        publishes=("order_id", "payment_id", "customer_id", "total_cents", "currency"),
        aliases={
            "saga.compensated": ("domain.order.OrderFailed",),
            "saga.failed": ("domain.order.OrderFailed",),
        },
    )
    .step(
        orders.create_order,
        done=("order.created", "domain.order.OrderCreated", "domain.order.ValidateInventory"),
        failed="order.creation_failed",
        compensate=undo(orders.cancel_order, done="order.cancelled"),
    )
    .read(
        inventory.validate_inventory,
        done=("inventory.validated", "domain.order.ReserveInventory"),
        failed="inventory.validation_failed",
    )
    .step(
        inventory.reserve_inventory,
        done=("inventory.reserved", "domain.order.ProcessPayment"),
        failed="inventory.reservation_failed",
        compensate=undo(inventory.release_inventory, done="inventory.released"),
    )
    .read(
        payments.get_payment_info,
        done="user.payment_info_retrieved",
        failed="user.payment_info_failed",
    )
    .call(
        payments.authorize_payment,
        done="payment.authorized",
        failed=("payment.failed", "domain.order.ReleaseInventory"),
        compensate=undo(payments.revert_payment, done="payment.reverted"),
        retry=GATEWAY,
        uses="stripe",
    )
    .step(
        payments.hold_escrow,
        done="escrow.held",
        failed="escrow.failed",
        compensate=undo(payments.cancel_escrow, done="escrow.cancelled"),
    )
    .pivot(  # CREATED: from here on a failure goes forward, not back
        orders.confirm_order,
        done=("order.status_updated", "domain.order.OrderCompleted"),
        failed="order.status_update_failed",
    )
    .then(
        timers.start_timer,
        done="timer.started",
        failed="timer.failed",
        compensate=best_effort(timers.cancel_timer, done="timer.cancelled"),
    )
)
