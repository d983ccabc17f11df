"""The outbox relay: publishes committed events to the topic exchange, at least once, in order per saga.

An event is marked after the broker confirmed it, so a crash between the two publishes it again: consumers
de-duplicate by `id`. One relay works at a time; a second one finds the lock taken and leaves.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from typing import Any

from celery import current_app
from django.db import transaction
from kombu import Exchange
from kombu.exceptions import OperationalError

from sagas import registry, store
from sagas.conf import options
from sagas.definition import Saga
from sagas.errors import UnknownDefinition
from sagas.models import SagaEvent, SagaInstance

logger = logging.getLogger("sagas")

ENVELOPE_VERSION = 1
#: Key of the PostgreSQL advisory lock that keeps relays apart.
RELAY_LOCK = 7_240_417


def relay() -> int:
    """Publish what is unpublished; returns how many events went out. A broker that is down leaves them for later."""
    published = 0
    while options().event_exchange and (count := _relay_batch()):
        published += count
        if count < options().relay_batch_size:
            break
    return published


def backlog() -> int:
    """How many committed events still wait to be published."""
    waiting: int = _unpublished().count()
    return waiting


def event_id(saga_id: uuid.UUID, seq: int) -> uuid.UUID:
    """The id an event carries, derived from its saga and number, so that every copy of it has the same."""
    return uuid.uuid5(saga_id, str(seq))


def _unpublished() -> Any:
    return SagaEvent.objects.filter(published_at__isnull=True).exclude(type="").order_by("id")


def _relay_batch() -> int:
    with transaction.atomic():
        if not store.try_lock(RELAY_LOCK):
            return 0
        events = list(_unpublished()[: options().relay_batch_size])
        if not events:
            return 0
        try:
            _publish(events)
        except (OperationalError, OSError) as error:
            logger.warning("Events not published: %s", error, extra={"action": "relay_failed"})
            return 0
        SagaEvent.objects.filter(id__in=[event.id for event in events]).update(published_at=store.now())
    return len(events)


def _publish(events: list[SagaEvent]) -> None:
    sagas = SagaInstance.objects.in_bulk({event.saga_id for event in events})
    exchange = Exchange(options().event_exchange, type="topic", durable=True)
    with current_app.producer_pool.acquire(block=True, timeout=5) as producer:
        for event in events:
            saga = sagas.get(event.saga_id)
            body = envelope(event, saga)
            definition = _definition(saga)
            aliases = definition.aliases.get(event.type, ()) if definition else ()
            producer.publish(
                body, exchange=exchange, declare=[exchange], routing_key=event.type, message_id=body["id"],
                serializer="json", delivery_mode=2, headers={"CC": list(aliases)} if aliases else {},
                retry=True, retry_policy={"max_retries": 1, "interval_start": 0.2},
            )  # fmt: skip


def envelope(event: SagaEvent, saga: SagaInstance | None) -> dict[str, Any]:
    """The message others read. `correlation_id` is the saga, `causation_id` the event before this one."""
    identity = str(event_id(event.saga_id, event.seq))
    cause = event_id(event.saga_id, event.seq - 1) if event.seq > 1 else event.saga_id
    return {
        "id": identity, "eventId": identity, "type": event.type, "version": ENVELOPE_VERSION,
        "correlation_id": str(event.saga_id), "causation_id": str(cause), "sequence": event.seq,
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
    try:
        return registry.get(saga.name, saga.version) if saga is not None else None
    except UnknownDefinition:
        return None


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
