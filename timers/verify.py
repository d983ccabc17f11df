"""What must hold for every timer, whatever it is about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Count, F, Q

from sagas import Breach, Invariant, register_invariants
from timers.clock import database_now
from timers.models import LIVE, EventStatus, ScheduledEvent

#: How late the sweep may be before that is a breach and not only load.
LATE = timedelta(minutes=10)


def impossible_timers() -> Iterator[Breach]:
    """Scheduled timers that no sweep will ever find, and ended ones that a sweep would still find."""
    impossible = (
        ~Q(status__in=EventStatus.values)
        | Q(status=EventStatus.SCHEDULED, due_at__isnull=True)
        | ~Q(status__in=LIVE) & Q(due_at__isnull=False)
        | Q(status=EventStatus.FIRED, fired_at__isnull=True)
        | Q(status=EventStatus.CANCELLED, cancelled_at__isnull=True)
    )
    for timer in ScheduledEvent.objects.filter(impossible).order_by("pk").iterator():
        due = f"due at {timer.due_at}" if timer.due_at else "never due"
        yield Breach(f"timer {timer.pk}", f"{timer.status} for {timer.entity_id}, {due}")


def fired_early() -> Iterator[Breach]:
    for timer in ScheduledEvent.objects.filter(fired_at__lt=F("scheduled_at")).order_by("pk").iterator():
        yield Breach(f"timer {timer.pk}", f"scheduled for {timer.scheduled_at}, fired at {timer.fired_at}")


def overdue() -> Iterator[Breach]:
    late = ScheduledEvent.objects.live().filter(due_at__lt=database_now(-LATE))
    for timer in late.order_by("due_at").iterator():
        yield Breach(f"timer {timer.pk}", f"{timer.status} for {timer.entity_id}, due since {timer.due_at}")


def scheduled_twice() -> Iterator[Breach]:
    live = ScheduledEvent.objects.live().order_by().values_list("event_type", "entity_id")
    for event_type, entity_id, times in live.annotate(times=Count("pk")).filter(times__gt=1):
        yield Breach(f"entity {entity_id}", f"{times} timers {event_type} are scheduled for it")


_LOOK = "look at the timer in the admin"
INVARIANTS = (
    Invariant(
        "I8", "no two timers of one type are scheduled for one thing", "scheduled timers",
        ScheduledEvent.objects.live(), scheduled_twice,
        f"Firing both is harmless, the second finds nothing to do; {_LOOK} and cancel one through the timers API.",
    ),
    Invariant(
        "I14", "every timer will fire, has fired, or was cancelled", "timers",
        ScheduledEvent.objects.all(), impossible_timers,
        f"No code of ours writes such a row: {_LOOK} and find out who changed it.",
    ),
    Invariant(
        "I14", "no timer fired early", "timers",
        ScheduledEvent.objects.all(), fired_early,
        "The database's clock was wrong, or the row was changed by hand.",
    ),
    Invariant(
        "I14", f"no timer is overdue by {LATE.seconds // 60} minutes", "scheduled timers",
        ScheduledEvent.objects.live(), overdue,
        "The timer sweep does not run: check that beat and a worker on its queue are up.",
    ),
)  # fmt: skip
register_invariants(*INVARIANTS)
