"""The outbox relay: publishes committed events to the topic exchange, at least once, in order per order.

An event gets its number among all events of its subject (an order has several sagas) before it goes out for the first
time, and is marked after the broker confirmed it: a crash between the two publishes it again, with the same id and the
same number, so consumers de-duplicate by `id`. What the broker refuses or never confirms keeps back the later events of
its own subject and nobody else's. One relay works at a time; a second one finds the lock taken and leaves.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Min
from kombu.exceptions import OperationalError

from sagas.conf import options
from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.models import SagaEvent, SagaInstance
from sagas.outbox.publisher import Message, Publisher, describe
from sagas.storage import storage

logger = logging.getLogger("sagas")

ENVELOPE_VERSION = 1
#: Key of the PostgreSQL advisory lock that keeps relays apart.
RELAY_LOCK = 7_240_417
#: One run ends after so long, well inside its task's time; the next one goes on.
RUN_SECONDS = 20.0
#: A topic the broker does not confirm costs a wait, so it is left alone for this long while others go out.
TOPIC_REST_SECONDS = 10.0
#: A late backlog is warned of once in so long, by each process.
WARNING_SECONDS = 60.0

_resting: dict[str, float] = {}
_warned_at = float("-inf")


@dataclass
class Run:
    """What one run of the relay knows."""

    until: float = field(default_factory=lambda: time.monotonic() + RUN_SECONDS)
    #: The newest event looked at.
    last_id: int = 0
    published: int = 0
    #: Subjects of which an event did not get through: what comes after it waits.
    held: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)

    def hold(self, line: str, why: str) -> None:
        self.held.add(line)
        self.failures[why] += 1

    @property
    def has_time(self) -> bool:
        return time.monotonic() < self.until


@dataclass(frozen=True)
class Backlog:
    """Committed events of one topic that still wait to be published."""

    topic: str
    events: int
    oldest_at: datetime


def relay() -> int:
    """Publish what is unpublished; returns how many events went out. A broker that is down leaves them for later."""
    if not options().event_exchange or not _unpublished().exists():
        return 0
    run = Run()
    try:
        with Publisher(options().event_exchange) as publisher:
            while run.has_time and not publisher.error and _relay_page(run, publisher):
                pass
            _let_rest(publisher)
    except (OperationalError, OSError) as error:
        run.failures[describe(error)] += 1
    _log_failures(run)
    _warn_if_late()
    return run.published


def backlog() -> list[Backlog]:
    """What still waits to be published, by topic."""
    by_type = _unpublished().order_by().values_list("type").annotate(Count("id"), Min("created_at"))
    topics: dict[str, list[tuple[int, datetime]]] = defaultdict(list)
    for name, count, oldest_at in by_type:
        topics[name.partition(".")[0]].append((count, oldest_at))
    return [
        Backlog(topic, sum(count for count, _ in found), min(oldest_at for _, oldest_at in found))
        for topic, found in sorted(topics.items())
    ]


def oldest_unpublished_age() -> timedelta:
    """How long the oldest unpublished event has waited; nought if there is none."""
    oldest = _unpublished().values_list("created_at", flat=True).first()
    return max(storage().now() - oldest, timedelta()) if oldest else timedelta()


def event_id(saga_id: uuid.UUID, seq: int) -> uuid.UUID:
    """The id an event carries, derived from its saga and number, so that every copy of it has the same."""
    return uuid.uuid5(saga_id, str(seq))


def _unpublished() -> Any:
    return SagaEvent.objects.filter(published_at__isnull=True).exclude(type="").order_by("id")


def _relay_page(run: Run, publisher: Publisher) -> bool:
    """Publish the next events and those of the same subjects. False when there are no more, or another relay works.

    The numbers are committed first: they must be the same ones when these events are published again after a crash.
    """
    with transaction.atomic():
        if not storage().try_lock(RELAY_LOCK):
            return False
        storage().number_events(options().relay_batch_size)
    with transaction.atomic():
        page = storage().try_lock(RELAY_LOCK) and list(
            _unpublished().filter(id__gt=run.last_id).values_list("id", "saga_id")[: options().relay_batch_size]
        )
        if not page:
            return False
        run.last_id = page[-1][0]
        confirmed = _publish(_lines({saga_id for _, saga_id in page}, run), run, publisher)
        SagaEvent.objects.filter(id__in=confirmed).update(published_at=storage().now())
    run.published += len(confirmed)
    return True


def _lines(saga_ids: set[uuid.UUID], run: Run) -> dict[str, deque[Message]]:
    """The unpublished events of the subjects of these sagas, in the order of their numbers."""
    subjects = SagaInstance.objects.filter(pk__in=saga_ids).values("subject")
    sagas = {saga.pk: saga for saga in SagaInstance.objects.filter(subject__in=subjects)}
    waiting = _unpublished().filter(saga_id__in=sagas, subject_sequence__isnull=False).order_by("subject_sequence")
    lines: dict[str, deque[Message]] = defaultdict(deque)
    for event in waiting:
        saga = sagas[event.saga_id]
        if saga.subject in run.held:
            continue
        if _is_for_another_relay(event, saga):
            run.held.add(saga.subject)
            continue
        try:
            lines[saga.subject].append(_message(event, saga))
        except Exception as error:  # noqa: BLE001 - an event that cannot be encoded must not delay other subjects
            run.hold(saga.subject, f"{event} cannot be encoded: {describe(error)}")
    return lines


def _is_for_another_relay(event: SagaEvent, saga: SagaInstance) -> bool:
    """Whether a relay of the other release should publish this event, because only it knows the definition.

    Two releases run side by side during a deploy. After `backlog_patience` an event is published in any case."""
    return _definition(saga) is None and storage().now() - event.created_at < options().backlog_patience


def _message(event: SagaEvent, saga: SagaInstance) -> Message:
    definition = _definition(saga)
    aliases = definition.aliases_of(event.type) if definition else ()
    return Message(event.pk, saga.subject, event.type, envelope(event, saga), tuple(aliases))


def _publish(lines: dict[str, deque[Message]], run: Run, publisher: Publisher) -> list[int]:
    """Publish the next event of every subject, again and again. Returns the ids of the confirmed events."""
    confirmed = []
    while run.has_time and (wave := list(_wave(lines, run))):
        failed = publisher.send(wave)
        for message in wave:
            lines[message.line].popleft()
            if why := failed.get(message.event_id):
                lines[message.line].clear()
                run.hold(message.line, f"{message.topic}: {why}")
            else:
                confirmed.append(message.event_id)
    return confirmed


def _wave(lines: dict[str, deque[Message]], run: Run) -> Iterator[Message]:
    for subject, line in lines.items():
        if line and _resting.get(line[0].topic, 0.0) > time.monotonic():
            run.hold(subject, f"{line[0].topic}: left alone for a while")
            line.clear()
        elif line:
            yield line[0]


def _let_rest(publisher: Publisher) -> None:
    """Stop publishing topics that fail while others are confirmed. If nothing was, the broker is the cause."""
    if publisher.has_confirmed:
        _resting.update(dict.fromkeys(publisher.broken, time.monotonic() + TOPIC_REST_SECONDS))


def _log_failures(run: Run) -> None:
    """Say what was not published and why."""
    for why, count in run.failures.items():
        logger.warning("Events not published: %s (%d)", why, count, extra={"action": "relay_failed"})


def _warn_if_late() -> None:
    """Log from time to time that events are late."""
    global _warned_at  # noqa: PLW0603 - one per process
    if time.monotonic() - _warned_at < WARNING_SECONDS:
        return
    age = oldest_unpublished_age()
    if age > options().backlog_patience:
        _warned_at = time.monotonic()
        logger.warning(
            "The oldest unpublished event has waited for %d s", age.total_seconds(),
            extra={"action": "outbox_late", "age_seconds": age.total_seconds()},
        )  # fmt: skip


def envelope(event: SagaEvent, saga: SagaInstance | None) -> dict[str, Any]:
    """The message others read. `correlation_id` is the saga, `causation_id` the event before this one."""
    identity = str(event_id(event.saga_id, event.seq))
    cause = event_id(event.saga_id, event.seq - 1) if event.seq > 1 else event.saga_id
    return {
        "id": identity, "eventId": identity, "type": event.type, "version": ENVELOPE_VERSION,
        "correlation_id": str(event.saga_id), "causation_id": str(cause), "sequence": event.seq,
        "subject_sequence": event.subject_sequence,
        "timestamp": _iso(event.created_at), "payload": _carried(saga) | (event.payload or {}),
    }  # fmt: skip


def _carried(saga: SagaInstance | None) -> dict[str, Any]:
    """The input fields the definition publishes with every event, and what the saga is about."""
    if saga is None:
        return {}
    definition = _definition(saga)
    given = saga.data["input"]
    names = definition.publishes if definition else ()
    return {"subject": saga.subject} | {name: given[name] for name in names if name in given}


def _definition(saga: SagaInstance | None) -> Saga | None:
    return registry.find(saga.name, saga.version) if saga is not None else None


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
