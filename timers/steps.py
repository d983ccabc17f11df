"""The timer as a participant of a saga: set the alarm that waits for somebody to accept, and take it back.

`order_id` is, to this app, only the id of the entity the alarm watches.
"""

from __future__ import annotations

from typing import TypedDict

from django.conf import settings

from timers import services


class TimerStarted(TypedDict):
    timer_id: str


def start_timer(*, order_id: str, owner: str, saga_id: str) -> TimerStarted:
    """Ring when the acceptance window has passed; doing it twice leaves one alarm."""
    event = services.schedule_in(
        event_type=settings.ORDER_ACCEPTANCE_EVENT,
        entity_id=order_id,
        delay=settings.ORDER_ACCEPTANCE_WINDOW,
        payload={"saga_id": saga_id},
        owner=owner,
    )
    return TimerStarted(timer_id=str(event.pk))


def cancel_timer(*, order_id: str) -> None:
    """Switch the alarm off; right also when it never was set or already rang."""
    services.cancel(event_type=settings.ORDER_ACCEPTANCE_EVENT, entity_id=order_id)


def restore_timer(*, order_id: str) -> None:
    """Set the alarm again as it was before `cancel_timer`; one whose time has passed meanwhile rings at once."""
    services.restore(event_type=settings.ORDER_ACCEPTANCE_EVENT, entity_id=order_id)
