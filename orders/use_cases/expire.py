"""Nobody came: what happens when the acceptance window of an order has passed.

Two ways lead here and both end at the engine's one door. The order's timer rings; or a sweep finds a CREATED order
past its time that no timer watches any more. Who loses the race against a runner, a customer or the other way leaves
everything as it is.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.conf import settings

from orders.errors import CannotCancel
from orders.models import Order
from orders.services import SYSTEM
from sagas.engine import commands
from sagas.errors import AlreadyCancelling
from sagas.errors import CannotCancel as SagaCannotCancel
from timers import registry
from timers.services import entities_with_live_timer

logger = logging.getLogger(__name__)

REASON_CODE = "order_timed_out"
REASON = "Order timed out (30 minutes)"
# A timer that is due is left to the timers' own sweep for this long before its order counts as unattended.
UNATTENDED_GRACE = timedelta(seconds=15)
SWEEP_BATCH_SIZE = 200


def register_timer_handler() -> None:
    registry.register(settings.ORDER_ACCEPTANCE_EVENT, on_acceptance_timeout)


def on_acceptance_timeout(entity_id: str, _payload: dict[str, Any]) -> None:
    """The order's timer rang; runs in the transaction that marks the timer FIRED."""
    order = Order.objects.filter(pk=entity_id).first()
    if order is not None:
        time_out(order)


def time_out(order: Order) -> bool:
    """Cancel an order nobody accepted; False when somebody else decided its fate first."""
    try:
        commands.cancel(order.saga_id, reason_code=REASON_CODE, reason=REASON, actor=SYSTEM)
    except (AlreadyCancelling, SagaCannotCancel, CannotCancel) as lost:
        logger.info(
            "Order was not timed out", extra={"action": "timeout_lost", "order_id": str(order.pk), "why": lost.code}
        )
        return False
    logger.info("Order timed out", extra={"action": "order_timed_out", "order_id": str(order.pk)})
    return True


def sweep_unattended(*, limit: int = SWEEP_BATCH_SIZE) -> int:
    """Cancel CREATED orders past their time that no timer watches; answers how many. Safe to run anywhere and twice."""
    late = list(Order.objects.past_acceptance(grace=UNATTENDED_GRACE).order_by("accept_by")[:limit])
    watched = entities_with_live_timer(
        event_type=settings.ORDER_ACCEPTANCE_EVENT, entity_ids=[str(order.pk) for order in late]
    )
    return sum(time_out(order) for order in late if str(order.pk) not in watched)
