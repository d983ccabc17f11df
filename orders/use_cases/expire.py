"""What happens when the acceptance window of an order is over: its create-order saga is cancelled.

Two things start it: the order's timer fires, or a sweep finds an overdue CREATED order that has no timer any more. If a
runner, a customer or the other of the two was faster, nothing changes.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.conf import settings

import sagas
from orders.errors import CannotCancel
from orders.models import Order
from orders.roles import SYSTEM
from sagas import AlreadyCancelling
from sagas import CannotCancel as SagaCannotCancel
from timers.services import entities_with_live_timer

logger = logging.getLogger(__name__)

REASON_CODE = "order_timed_out"
REASON = "Order timed out (30 minutes)"
# The timers' own sweep has this long to fire a due timer before this sweep looks at the order.
UNATTENDED_GRACE = timedelta(seconds=15)
SWEEP_BATCH_SIZE = 200


def on_acceptance_timeout(entity_id: str, _payload: dict[str, Any]) -> None:
    """The order's timer fires. Runs in the transaction that marks the timer FIRED; `entity_id` is the order's id."""
    order = Order.objects.filter(pk=entity_id).first()
    if order is not None:
        time_out(order)


def time_out(order: Order) -> bool:
    """Cancel an order that nobody accepted. Returns False if the order was accepted or cancelled before."""
    try:
        sagas.cancel(order.saga_id, reason_code=REASON_CODE, reason=REASON, actor=SYSTEM)
    except (AlreadyCancelling, SagaCannotCancel, CannotCancel) as error:
        logger.info(
            "Order was not timed out", extra={"action": "timeout_lost", "order_id": str(order.pk), "why": error.code}
        )
        return False
    logger.info("Order timed out", extra={"action": "order_timed_out", "order_id": str(order.pk)})
    return True


def sweep_unattended(*, limit: int = SWEEP_BATCH_SIZE) -> int:
    """Cancel overdue CREATED orders that have no timer. Returns how many. Safe to run anywhere, and twice at once."""
    late = list(Order.objects.past_acceptance(grace=UNATTENDED_GRACE).order_by("accept_by")[:limit])
    with_timer = entities_with_live_timer(
        event_type=settings.ORDER_ACCEPTANCE_EVENT, entity_ids=[str(order.pk) for order in late]
    )
    return sum(time_out(order) for order in late if str(order.pk) not in with_timer)
