"""What must hold for every alarm, whatever it watches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Count, F, Q

from sagas.verification.invariants import Breach, Invariant
from sagas.verification.verify import register_invariants
from timers.clock import database_now
from timers.models import LIVE, EventStatus, ScheduledEvent

#: How long the sweep may be late before that is a breach and not a busy moment.
LATE = timedelta(minutes=10)


def impossible_alarms() -> Iterator[Breach]:
    """Alarms that nothing will ever look at again although they are set, or that still ring although they are not."""
    impossible = (
        ~Q(status__in=EventStatus.values)
        | Q(status=EventStatus.SCHEDULED, due_at__isnull=True)
        | ~Q(status__in=LIVE) & Q(due_at__isnull=False)
        | Q(status=EventStatus.FIRED, fired_at__isnull=True)
        | Q(status=EventStatus.CANCELLED, cancelled_at__isnull=True)
    )
    for alarm in ScheduledEvent.objects.filter(impossible).order_by("pk").iterator():
        due = f"due at {alarm.due_at}" if alarm.due_at else "never due"
        yield Breach(f"alarm {alarm.pk}", f"{alarm.status} for {alarm.entity_id}, {due}")


def rang_early() -> Iterator[Breach]:
    for alarm in ScheduledEvent.objects.filter(fired_at__lt=F("scheduled_at")).order_by("pk").iterator():
        yield Breach(f"alarm {alarm.pk}", f"set for {alarm.scheduled_at}, rang at {alarm.fired_at}")


def overdue() -> Iterator[Breach]:
    late = ScheduledEvent.objects.live().filter(due_at__lt=database_now(-LATE))
    for alarm in late.order_by("due_at").iterator():
        yield Breach(f"alarm {alarm.pk}", f"{alarm.status} for {alarm.entity_id}, due since {alarm.due_at}")


def set_twice() -> Iterator[Breach]:
    live = ScheduledEvent.objects.live().order_by().values_list("event_type", "entity_id")
    for event_type, entity_id, times in live.annotate(times=Count("pk")).filter(times__gt=1):
        yield Breach(f"entity {entity_id}", f"{times} alarms {event_type} are set for it")


_LOOK = "look the alarm up in the admin"
INVARIANTS = (
    Invariant(
        "I8", "no two alarms are set for one thing", "alarms set",
        ScheduledEvent.objects.live(), set_twice,
        f"Acting twice is harmless, the second finds its work done; {_LOOK} and switch one off.",
    ),
    Invariant(
        "I14", "every alarm is set and will ring, rang, or was switched off", "alarms",
        ScheduledEvent.objects.all(), impossible_alarms,
        f"No code of ours writes such a row: {_LOOK} and find out who changed it.",
    ),
    Invariant(
        "I14", "no alarm rang early", "alarms",
        ScheduledEvent.objects.all(), rang_early,
        "The database's clock was wrong, or the row was changed by hand.",
    ),
    Invariant(
        "I14", f"no alarm is overdue by {LATE.seconds // 60} minutes", "alarms set",
        ScheduledEvent.objects.live(), overdue,
        "The timer sweep does not run: see that beat and a worker on its queue are up.",
    ),
)  # fmt: skip
register_invariants(*INVARIANTS)
