"""Sends step messages. A message says "look at this saga here"; it may be lost, doubled or late without harm.

Each message is a step's Celery task with `(saga_id, position, epoch)`. Starting, resuming, recovering and undoing all
send the same thing: a chain of the steps still to do, built from the row, with `link_error` to the compensation task.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from celery import chain, current_app
from kombu.exceptions import OperationalError

from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.failpoints import Failpoint, reach
from sagas.machine.state import Row

logger = logging.getLogger("sagas")

COMPENSATE_TASK = "sagas.compensate"
#: After a failed publish the broker is left alone for this long; the sweep sends the messages again from the database.
BROKER_PAUSE_SECONDS = 5.0


class StepMessage(NamedTuple):
    """What a step's message carries, and all of it."""

    saga_id: uuid.UUID
    position: int
    epoch: int


#: A task's name and its message.
Link = tuple[str, StepMessage]


class Publisher(Protocol):
    def __call__(self, links: list[Link]) -> None:
        """Publish the rest of one saga in the order it is to run."""


def remaining(row: Row, saga: Saga) -> list[Link]:
    """The rest of the saga from where it stands: steps still to do, or compensations still to run."""
    if not row.is_open:
        return []
    if row.is_going_back:
        undone = [(step.position, step.compensation) for step in saga.steps[row.position :: -1] if step.compensation]
        return [(undo.task_name, StepMessage(row.id, position, row.epoch)) for position, undo in undone]
    return [(step.task_name, StepMessage(row.id, step.position, row.epoch)) for step in saga.steps[row.position :]]


def next_message(row: Row) -> StepMessage:
    return StepMessage(row.id, row.position, row.epoch)


def next_task(row: Row, saga: Saga) -> str | None:
    """The task the saga would run next, if it is open."""
    links = remaining(row, saga)
    return links[0][0] if links else None


def dispatch(row: Row) -> None:
    """Publish the rest of a saga. A failure is logged and forgotten: `wake_at` is already committed."""
    links = remaining(row, registry.get(row.name, row.version))
    if links:
        reach(Failpoint.MESSAGE_PUBLISHING)
        _publisher(links)
        reach(Failpoint.MESSAGE_PUBLISHED)


class CeleryPublisher:
    """Publishes the rest of a saga as one chain. No retries: no web request waits for a broker that is down."""

    def __init__(self) -> None:
        self._silent_until = 0.0

    def __call__(self, links: list[Link]) -> None:
        if time.monotonic() < self._silent_until:
            return
        saga_id, _, epoch = links[0][1]
        app = current_app
        steps = [app.tasks[name].si(str(message.saga_id), message.position, message.epoch) for name, message in links]
        try:
            chain(*steps).apply_async(
                link_error=app.tasks[COMPENSATE_TASK].si(str(saga_id), epoch), root_id=str(saga_id), retry=False
            )
        except (OperationalError, OSError) as error:
            self._silent_until = time.monotonic() + BROKER_PAUSE_SECONDS
            logger.warning(
                "Broker unreachable, the sweep sends %s of saga %s again: %s", links[0][0], saga_id, error,
                extra={"action": "message_lost", "saga_id": str(saga_id)},
            )  # fmt: skip


_publisher: Publisher = CeleryPublisher()


@contextmanager
def published_by(publisher: Publisher) -> Iterator[None]:
    """Give the messages to `publisher` inside the block; for tests and the simulator."""
    global _publisher  # noqa: PLW0603 - one publisher a process
    before, _publisher = _publisher, publisher
    try:
        yield
    finally:
        _publisher = before
