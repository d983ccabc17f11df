"""The steps of timers in a saga: start the timer of the acceptance window, cancel it, restore it.

To this app `order_id` is only the id of the entity that the timer is about.
"""

from __future__ import annotations

import uuid
from typing import TypedDict

from django.conf import settings

from timers import services

#: A timer's id is derived from its order's id in this namespace, so that it is known before the timer is started.
NAMESPACE = uuid.UUID("3f0c1b0e-9d5c-5a55-8d2a-6f2f0a6a3c11")


class TimerStarted(TypedDict):
    timer_id: str


def start_timer(*, order_id: str, owner: str, saga_id: str) -> TimerStarted:
    """Start the timer that fires when the acceptance window is over. Doing it twice leaves one timer.

    A runner can accept the order before this step runs; then the timer is cancelled already and is not started.
    """
    event = services.schedule_in(
        event_id=_timer_id(order_id),
        event_type=settings.ORDER_ACCEPTANCE_EVENT,
        entity_id=order_id,
        delay=settings.ORDER_ACCEPTANCE_WINDOW,
        payload={"saga_id": saga_id},
        owner=owner,
    )
    return TimerStarted(timer_id=str(event.pk))


def cancel_timer(*, order_id: str) -> None:
    """Cancel the timer. Also right if it has fired, or is not started yet."""
    services.cancel_permanently(
        event_type=settings.ORDER_ACCEPTANCE_EVENT,
        entity_id=order_id,
        event_id=_timer_id(order_id),
        delay=settings.ORDER_ACCEPTANCE_WINDOW,
    )


def restore_timer(*, order_id: str) -> None:
    """Schedule the timer as it was before `cancel_timer`. If its time has passed meanwhile, it fires at once."""
    services.restore(event_type=settings.ORDER_ACCEPTANCE_EVENT, entity_id=order_id)


def _timer_id(order_id: str) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, order_id)
