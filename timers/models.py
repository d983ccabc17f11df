"""One row is one timer: what should happen, to what, and when.

SCHEDULED ── fires ───────────────────────▶ FIRED
    │  └──── firing failed ──▶ EXPIRED ── a later attempt works ──▶ FIRED
    └─────── cancelled ──────────┴───────▶ CANCELLED
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from sagas import uuid7
from timers.clock import database_now

LIVE = ("SCHEDULED", "EXPIRED")


class EventStatus(models.TextChoices):
    SCHEDULED = "SCHEDULED", "Scheduled"
    FIRED = "FIRED", "Fired"
    EXPIRED = "EXPIRED", "Expired, still to be acted on"
    CANCELLED = "CANCELLED", "Cancelled"


class ScheduledEventQuerySet(models.QuerySet["ScheduledEvent"]):
    """Every change of a status is a compare-and-set and returns how many rows changed."""

    def live(self) -> ScheduledEventQuerySet:
        return self.filter(status__in=LIVE)

    def due(self) -> ScheduledEventQuerySet:
        return self.live().filter(due_at__lte=database_now())

    def overdue(self, *, event_type: str) -> ScheduledEventQuerySet:
        """Timers whose time has passed and whose handler has not run yet."""
        return self.live().filter(event_type=event_type, scheduled_at__lte=database_now())

    def of(self, event_type: str, entity_id: str) -> ScheduledEventQuerySet:
        return self.filter(event_type=event_type, entity_id=entity_id)

    def claim(self, *, lease: timedelta) -> int:
        """Make the due rows invisible to other sweeps for `lease`, and count the attempt before it is made."""
        return self.due().update(due_at=database_now(lease), attempts=F("attempts") + 1)

    def mark_fired(self) -> int:
        return self.live().update(status=EventStatus.FIRED, fired_at=database_now(), due_at=None, error="")

    def mark_cancelled(self) -> int:
        return self.live().update(status=EventStatus.CANCELLED, cancelled_at=database_now(), due_at=None)

    def mark_scheduled_again(self) -> int:
        """Undo a cancellation: the timer is scheduled for its old time."""
        cancelled = self.filter(status=EventStatus.CANCELLED)
        return cancelled.update(status=EventStatus.SCHEDULED, cancelled_at=None, due_at=F("scheduled_at"))

    def mark_expired(self, *, error: str, retry_in: timedelta | None) -> int:
        """The handler failed: try again after `retry_in`, or leave the timer to a person if that is None."""
        due_at = None if retry_in is None else database_now(retry_in)
        return self.live().update(status=EventStatus.EXPIRED, due_at=due_at, error=error)


class ScheduledEvent(models.Model):
    """A timer. `scheduled_at` is the time asked for; `due_at` is when a sweep looks at it next (NULL: never)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_type = models.CharField(max_length=100)
    entity_id = models.CharField(max_length=100)
    owner = models.CharField(max_length=150, blank=True, default="")
    scheduled_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)
    payload = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    status = models.CharField(max_length=10, choices=EventStatus.choices, default=EventStatus.SCHEDULED)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    fired_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = ScheduledEventQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        permissions = [
            ("schedule_scheduledevent", "Can schedule timers"),
            ("cancel_scheduledevent", "Can cancel timers"),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(status__in=LIVE), name="timers_event_due"),
            models.Index(fields=["-created_at", "-id"], name="timers_event_recent"),
            models.Index(fields=["entity_id", "event_type"], name="timers_event_entity"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=EventStatus.values), name="timers_event_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=LIVE) | Q(due_at__isnull=True), name="timers_event_settled_not_due"
            ),
            models.UniqueConstraint(
                fields=["event_type", "entity_id"], condition=Q(status__in=LIVE), name="timers_event_one_live"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} for {self.entity_id} at {self.scheduled_at:%Y-%m-%d %H:%M:%S}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding and self.due_at is None and self.status == EventStatus.SCHEDULED:
            self.due_at = self.scheduled_at
        super().save(*args, **kwargs)

    @property
    def is_live(self) -> bool:
        return self.status in LIVE
