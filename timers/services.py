"""Schedule timers, cancel them, and fire those that are due.

A sweep first claims a batch of due timers: it moves their `due_at` into the future and skips rows that another sweep
has locked. Then it fires each timer in a transaction of its own: the handler runs first, the compare-and-set to FIRED
comes last. So handlers lock a saga's row before the timer's row, as all other code does, and nothing deadlocks. If the
timer was cancelled or fired meanwhile, the transaction is rolled back; so each timer acts once at most. A sweep that
dies leaves its batch to the next one, after `CLAIM_LEASE`.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from sagas import uuid7
from timers.clock import database_now
from timers.errors import (
    EventAlreadySettled,
    PayloadNotJson,
    PayloadTooLarge,
    ScheduledInThePast,
    UnknownEvent,
    UnknownEventType,
)
from timers.models import EventStatus, ScheduledEvent
from timers.registry import Handler, event_types, handler_of

logger = logging.getLogger(__name__)

SWEEP_BATCH_SIZE = 200
# A sweep ends well before its task's time limit. The next one continues.
SWEEP_BUDGET = timedelta(seconds=20)
CLAIM_LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 20
FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(minutes=10)
MAX_PAYLOAD_BYTES = 8 * 1024
ERROR_LENGTH = 500


class _AlreadySettled(Exception):
    """The timer was cancelled or fired meanwhile. Raised to roll back what its handler did."""


def schedule(
    *, event_type: str, entity_id: str, scheduled_at: datetime, payload: dict[str, Any], owner: str = ""
) -> ScheduledEvent:
    """Schedule a timer for a moment in the future. If the entity has a live timer of this type, return that one.

    `payload` is JSON, at most MAX_PAYLOAD_BYTES. Raises UnknownEventType, ScheduledInThePast, PayloadNotJson,
    PayloadTooLarge.
    """
    _require_handler(event_type)
    if scheduled_at <= timezone.now():
        raise ScheduledInThePast(f"{scheduled_at.isoformat()} is not in the future.")
    _require_storable(payload)
    event = ScheduledEvent(
        event_type=event_type, entity_id=entity_id, scheduled_at=scheduled_at, payload=payload, owner=owner
    )
    return _insert_or_existing(event, due_at=scheduled_at)


def schedule_in(
    *,
    event_type: str,
    entity_id: str,
    delay: timedelta,
    payload: dict[str, Any],
    owner: str = "",
    event_id: uuid.UUID | None = None,
) -> ScheduledEvent:
    """Schedule a timer `delay` from now, by the database's clock, or return the live one.

    A timer with an `event_id` is scheduled once at most: if it was cancelled, also by `cancel_permanently` before it
    was scheduled, it stays cancelled. Raises UnknownEventType.
    """
    _require_handler(event_type)
    moment = database_now(delay)
    event = ScheduledEvent(
        pk=event_id or uuid7(), event_type=event_type, entity_id=entity_id, scheduled_at=moment, payload=payload,
        owner=owner,
    )  # fmt: skip
    return _insert_or_existing(event, due_at=moment)


def _require_storable(payload: dict[str, Any]) -> None:
    try:
        size = len(json.dumps(payload, allow_nan=False).encode())
    except ValueError:
        raise PayloadNotJson("The payload has a number that JSON cannot express.") from None
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(f"A payload may have at most {MAX_PAYLOAD_BYTES} bytes.")


def _require_handler(event_type: str) -> Handler:
    handler = handler_of(event_type)
    if handler is None:
        raise UnknownEventType(f"{event_type!r} is not one of: {', '.join(event_types())}.")
    return handler


def _insert_or_existing(event: ScheduledEvent, *, due_at: Any) -> ScheduledEvent:
    event.due_at = due_at
    ScheduledEvent.objects.bulk_create([event], ignore_conflicts=True)
    live = ScheduledEvent.objects.live().of(event.event_type, event.entity_id).first()
    return live or ScheduledEvent.objects.get(pk=event.pk)


def cancel(*, event_type: str, entity_id: str) -> bool:
    """Cancel the live timer of an entity, if there is one. Returns whether there was."""
    return ScheduledEvent.objects.of(event_type, entity_id).mark_cancelled() > 0


def cancel_permanently(*, event_type: str, entity_id: str, event_id: uuid.UUID, delay: timedelta) -> None:
    """Cancel the live timer of an entity. If the timer `event_id` is not scheduled yet, it never will be.

    A row that is inserted at the same moment is waited for at the primary key and then cancelled. `restore` would
    schedule the timer for `delay` from now.
    """
    if cancel(event_type=event_type, entity_id=entity_id):
        return
    cancelled = ScheduledEvent(
        pk=event_id, event_type=event_type, entity_id=entity_id, scheduled_at=database_now(delay),
        status=EventStatus.CANCELLED, cancelled_at=database_now(),
    )  # fmt: skip
    ScheduledEvent.objects.bulk_create([cancelled], ignore_conflicts=True)
    cancel(event_type=event_type, entity_id=entity_id)


def restore(*, event_type: str, entity_id: str) -> bool:
    """Schedule an entity's last timer again for its old time, if it was cancelled and no other is live.

    Returns whether it was.
    """
    events = ScheduledEvent.objects.of(event_type, entity_id)
    last = None if events.live().exists() else events.order_by("-created_at", "-pk").first()
    return last is not None and ScheduledEvent.objects.filter(pk=last.pk).mark_scheduled_again() > 0


def cancel_event(*, event_id: str) -> ScheduledEvent:
    """Cancel a timer by its id (a UUID as text). Raises UnknownEvent, EventAlreadySettled."""
    won = ScheduledEvent.objects.filter(pk=event_id).mark_cancelled()
    event = ScheduledEvent.objects.filter(pk=event_id).first()
    if event is None:
        raise UnknownEvent(f"There is no event {event_id}.")
    if not won:
        raise EventAlreadySettled(f"The event is {event.status}.", event_status=event.status)
    return event


def entities_with_live_timer(*, event_type: str, entity_ids: list[str]) -> set[str]:
    """Those of the entities that have a timer which a sweep will still fire."""
    live = ScheduledEvent.objects.live().filter(event_type=event_type, entity_id__in=entity_ids, due_at__isnull=False)
    return set(live.values_list("entity_id", flat=True))


def fire_due(*, budget: timedelta = SWEEP_BUDGET) -> int:
    """Fire due timers in batches until `budget` is used up. Returns how many fired. Safe to run anywhere, and twice."""
    fired, stop_at = 0, time.monotonic() + budget.total_seconds()
    while time.monotonic() < stop_at and (batch := _claim_batch(SWEEP_BATCH_SIZE)):
        fired += sum(_fire(event) for event in batch)
    return fired


@transaction.atomic
def _claim_batch(size: int) -> list[ScheduledEvent]:
    due = ScheduledEvent.objects.due().order_by("due_at")
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True)
    ids = list(due.values_list("pk", flat=True)[:size])
    claimed = ScheduledEvent.objects.filter(pk__in=ids)
    if not ids or not claimed.claim(lease=CLAIM_LEASE):
        return []
    return list(claimed.order_by("scheduled_at"))


def _fire(event: ScheduledEvent) -> bool:
    log_extra = {"event_id": str(event.pk), "event_type": event.event_type, "entity_id": event.entity_id}
    try:
        with transaction.atomic():
            _require_handler(event.event_type)(event.entity_id, event.payload)
            if not ScheduledEvent.objects.filter(pk=event.pk).mark_fired():
                raise _AlreadySettled
    except _AlreadySettled:
        logger.info("Timer was cancelled or fired meanwhile", extra={"action": "timer_lost", **log_extra})
        return False
    except Exception as error:
        # Whatever a handler raises: its work is rolled back, and the timer must fire again.
        logger.exception("Timer's handler failed", extra={"action": "timer_failed", **log_extra})
        _record_failure(event, error)
        return False
    logger.info("Timer fired", extra={"action": "timer_fired", **log_extra})
    return True


def _record_failure(event: ScheduledEvent, error: Exception) -> None:
    retry_in = backoff(event.attempts) if event.attempts < MAX_ATTEMPTS else None
    message = f"{type(error).__name__}: {error}"[:ERROR_LENGTH]
    ScheduledEvent.objects.filter(pk=event.pk).mark_expired(error=message, retry_in=retry_in)


def backoff(attempts: int) -> timedelta:
    """How long to wait after so many failed attempts: 5 s, 10 s, 20 s, … up to ten minutes."""
    doublings = min(max(attempts - 1, 0), 10)
    delay: timedelta = FIRST_RETRY * 2**doublings
    return min(delay, LONGEST_RETRY)


def fire_again(*, event_ids: list[str]) -> int:
    """Make timers that used up their attempts due again, once the cause is removed. Returns how many."""
    parked = ScheduledEvent.objects.live().filter(pk__in=event_ids, due_at__isnull=True)
    return parked.update(due_at=database_now(), attempts=0)
