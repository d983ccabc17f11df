"""Publishing hints: messages that say "look at this saga", which may be lost, doubled or late without harm.

A hint is a step's task with `(saga_id, position, epoch)`. Starting, resuming, recovering and undoing all publish the
same thing: a Celery chain of the steps still to do, rebuilt from the row, with `link_error` to the compensation task.
"""

from __future__ import annotations

import logging
import time
import uuid
from typing import NamedTuple, Protocol

from celery import chain, current_app
from kombu.exceptions import OperationalError

from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.failpoints import Failpoint, reach
from sagas.machine.state import Row

logger = logging.getLogger("sagas")

COMPENSATE_TASK = "sagas.compensate"
#: After a failed publish the broker is left alone for this long; the sweep publishes again from the database.
BROKER_PAUSE_SECONDS = 5.0


class Hint(NamedTuple):
    """What a step's message carries, and all of it."""

    saga_id: uuid.UUID
    position: int
    epoch: int


class Publisher(Protocol):
    def __call__(self, hints: list[tuple[str, Hint]]) -> None:
        """Publish the tail of one saga: `(task name, hint)` in the order they are to run."""


def tail(row: Row, saga: Saga) -> list[tuple[str, Hint]]:
    """The rest of the saga from where it stands: steps still to do, or compensations still to run."""
    if not row.is_open:
        return []
    if row.is_going_back:
        undone = [(step.position, step.compensation) for step in saga.steps[row.position :: -1] if step.compensation]
        return [(c.task_name, Hint(row.id, position, row.epoch)) for position, c in undone]
    return [(step.task_name, Hint(row.id, step.position, row.epoch)) for step in saga.steps[row.position :]]


def drive(row: Row) -> None:
    """Publish the tail of a saga. A failure is logged and forgotten: `wake_at` is already committed."""
    hints = tail(row, registry.get(row.name, row.version))
    if hints:
        reach(Failpoint.HINT_PUBLISHING)
        _publisher(hints)
        reach(Failpoint.HINT_PUBLISHED)


def next_task(row: Row, saga: Saga) -> str | None:
    """The task the saga would run next, if it is open."""
    hints = tail(row, saga)
    return hints[0][0] if hints else None


class CeleryPublisher:
    """Publishes a tail as one chain, without retries: a web request must not hang on a broker that is down."""

    def __init__(self) -> None:
        self._silent_until = 0.0

    def __call__(self, hints: list[tuple[str, Hint]]) -> None:
        if time.monotonic() < self._silent_until:
            return
        saga_id, _, epoch = hints[0][1]
        app = current_app
        steps = [app.tasks[name].si(str(hint.saga_id), hint.position, hint.epoch) for name, hint in hints]
        try:
            chain(*steps).apply_async(
                link_error=app.tasks[COMPENSATE_TASK].si(str(saga_id), epoch), root_id=str(saga_id), retry=False
            )
        except (OperationalError, OSError) as error:
            self._silent_until = time.monotonic() + BROKER_PAUSE_SECONDS
            logger.warning(
                "Broker unreachable, the sweep will publish again: %s", error,
                extra={"action": "hint_lost", "saga_id": str(saga_id)},
            )  # fmt: skip


_publisher: Publisher = CeleryPublisher()


def set_publisher(publisher: Publisher) -> Publisher:
    """Replace the publisher, for tests and the simulator; returns the one before."""
    global _publisher
    before, _publisher = _publisher, publisher
    return before
