"""Who may see and schedule timers: with the permission all of them, without it only one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sagas.rest import access
from timers.errors import UnknownEvent
from timers.models import ScheduledEvent, ScheduledEventQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def may_schedule(user: User) -> bool:
    return access.may(user, "timers.schedule_scheduledevent")


def may_cancel(user: User) -> bool:
    return access.may(user, "timers.cancel_scheduledevent")


def visible_to(user: User) -> ScheduledEventQuerySet:
    events: ScheduledEventQuerySet = ScheduledEvent.objects.all()
    return access.visible(events, user)


def find(user: User, event_id: str) -> ScheduledEvent:
    """The event, if this user may know of it. Raises UnknownEvent for everything else."""
    return access.find(visible_to(user), event_id, UnknownEvent, "event")
