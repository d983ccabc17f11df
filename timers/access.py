"""Who may see and schedule timers: with the permission all of them, without it only one's own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from timers.errors import UnknownEvent
from timers.models import ScheduledEvent, ScheduledEventQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def sees_all(user: User) -> bool:
    return user.is_staff or user.has_perm("timers.view_scheduledevent")


def may_schedule(user: User) -> bool:
    return user.is_staff or user.has_perm("timers.schedule_scheduledevent")


def may_cancel(user: User) -> bool:
    return user.is_staff or user.has_perm("timers.cancel_scheduledevent")


def visible_to(user: User) -> ScheduledEventQuerySet:
    events: ScheduledEventQuerySet = ScheduledEvent.objects.all()
    return events if sees_all(user) else events.filter(owner=user.get_username())


def find(user: User, event_id: str) -> ScheduledEvent:
    """The event with this id, if this user may see it. Raises UnknownEvent, also for a text that is no id."""
    try:
        wanted = uuid.UUID(event_id)
    except ValueError:
        raise UnknownEvent(f"{event_id[:64]!r} is no event id.") from None
    event = visible_to(user).filter(pk=wanted).first()
    if event is None:
        raise UnknownEvent(f"There is no event {wanted}.")
    return event
