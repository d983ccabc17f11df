"""The timer as a participant of a saga: set the alarm that waits for somebody to accept, and take it back.

`order_id` is, to this app, only the id of the entity the alarm watches.
"""

from __future__ import annotations

import uuid
from typing import TypedDict

from django.conf import settings

from timers import services

#: An order's alarm has the order's id in this namespace, so that both who set it and who switch it off can name it.
ALARMS = uuid.UUID("3f0c1b0e-9d5c-5a55-8d2a-6f2f0a6a3c11")


class TimerStarted(TypedDict):
    timer_id: str


def start_timer(*, order_id: str, owner: str, saga_id: str) -> TimerStarted:
    """Ring when the acceptance window has passed; doing it twice leaves one alarm.

    An order can be accepted as soon as it is CREATED, which is before this: then the alarm was switched off already.
    """
    event = services.schedule_in(
        event_id=_alarm_id(order_id),
        event_type=settings.ORDER_ACCEPTANCE_EVENT,
        entity_id=order_id,
        delay=settings.ORDER_ACCEPTANCE_WINDOW,
        payload={"saga_id": saga_id},
        owner=owner,
    )
    return TimerStarted(timer_id=str(event.pk))


def cancel_timer(*, order_id: str) -> None:
    """Switch the alarm off; right also when it already rang, or is yet to be set."""
    services.cancel_for_good(
        event_type=settings.ORDER_ACCEPTANCE_EVENT,
        entity_id=order_id,
        event_id=_alarm_id(order_id),
        delay=settings.ORDER_ACCEPTANCE_WINDOW,
    )


def restore_timer(*, order_id: str) -> None:
    """Set the alarm again as it was before `cancel_timer`; one whose time has passed meanwhile rings at once."""
    services.restore(event_type=settings.ORDER_ACCEPTANCE_EVENT, entity_id=order_id)


def _alarm_id(order_id: str) -> uuid.UUID:
    return uuid.uuid5(ALARMS, order_id)
