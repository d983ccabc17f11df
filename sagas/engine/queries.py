"""What can be asked about sagas: one, those of a subject, and sets of them for another app's queries."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Expression, Q, QuerySet

from sagas.definition import registry
from sagas.engine.representation import INTERNAL
from sagas.errors import UnknownSaga
from sagas.machine.state import Row
from sagas.machine.transitions import step_name
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import OPEN, UNSETTLED, Action, Direction, Phase, Status
from sagas.storage import storage


@dataclass(frozen=True, slots=True)
class SagaState:
    """Where a saga stands. `step` is the step or compensation it is at, empty when it has ended or its definition is
    unknown here; `waits_for` the dependency on hold that keeps it, or empty; `next_at` when it is looked at again."""

    id: uuid.UUID
    name: str
    version: int
    key: str
    subject: str
    owner: str
    status: Status
    direction: Direction
    phase: Phase
    step: str
    attempt: int
    reason_code: str
    reason: str
    error: str
    actor: str
    waits_for: str
    next_at: datetime | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether the engine itself has something to do next."""
        return self.status in OPEN

    @property
    def is_unsettled(self) -> bool:
        """Whether something may still happen to it, automatically or by an operator."""
        return self.status in UNSETTLED


def find(saga_id: uuid.UUID) -> SagaState:
    """The saga as last committed. Raises `UnknownSaga`."""
    row = storage().read(saga_id)
    if row is None:
        raise UnknownSaga(f"There is no saga {saga_id}.")
    return state_of(row)


def of_subject(subject: str, *, names: tuple[str, ...] = ()) -> list[SagaState]:
    """All sagas about a subject, oldest first; only those of these definitions, if any are named."""
    return [state_of(row) for row in storage().of_subject(subject) if not names or row.name in names]


def unsettled(subject: str, *, names: tuple[str, ...] = ()) -> list[SagaState]:
    """The sagas about a subject to which something may still happen: open ones and those that need attention."""
    return [saga for saga in of_subject(subject, names=names) if saga.is_unsettled]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One fact of a saga's history. `step` is `saga` for facts about the saga as a whole; `attempt` is 0 for those."""

    step: str
    status: str
    message: str
    timestamp: datetime
    action: str
    attempt: int
    actor: str


def history(saga_id: uuid.UUID, *, include_internal: bool = False) -> list[HistoryEntry]:
    """What happened to a saga, in order; with the facts that concern only the engine, if they are wanted."""
    facts = [stored for stored in storage().events_of(saga_id)
             if include_internal or stored.event.action not in INTERNAL]  # fmt: skip
    return [
        HistoryEntry(
            fact.event.step or "saga", fact.event.status, fact.event.message, fact.created_at, fact.event.action.value,
            fact.event.attempt, fact.event.actor,
        )
        for fact in facts
    ]  # fmt: skip


def state_of(row: Row) -> SagaState:
    saga = registry.find(row.name, row.version)
    has_ended = row.phase is Phase.DONE
    return SagaState(
        id=row.id, name=row.name, version=row.version, key=row.key, subject=row.subject, owner=row.owner,
        status=row.status, direction=row.direction, phase=row.phase,
        step="" if saga is None or has_ended else step_name(row, saga),
        attempt=row.attempt, reason_code=row.reason_code, reason=row.reason, error=row.error, actor=row.actor,
        waits_for=row.held_by, next_at=row.wake_at or row.retry_at, created_at=row.created_at,
        finished_at=row.finished_at,
    )  # fmt: skip


# -- sets, for the queries of other apps ----------------------------------------------------------------------------
def saga_rows() -> QuerySet[SagaInstance]:
    """All sagas, for set-based reading such as another app's invariants.

    The columns to rely on: `id`, `name`, `version`, `key`, `subject`, `owner`, `status`, `created_at`, `finished_at`.
    """
    return SagaInstance.objects.order_by()


def settled_by_hand() -> QuerySet[SagaEvent, Any]:
    """The `saga_id` of each saga an operator closed, or skipped a step of."""
    by_hand = SagaEvent.objects.filter(action__in=(Action.SKIPPED, Action.CLOSED))
    return by_hand.order_by().values("saga_id")


def within_deadline(now: Expression) -> QuerySet[SagaInstance, Any]:
    """The `id` of each saga that goes forward and whose time is not up at `now`; a held saga has time."""
    forward = SagaInstance.objects.filter(status=Status.STARTED)
    in_time = ~Q(held_by="") | Q(deadline_at__gt=now) | Q(deadline_at__isnull=True)
    return forward.filter(in_time).order_by().values("id")
