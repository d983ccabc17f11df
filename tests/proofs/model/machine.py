"""One step of the protocol, made by the production code itself on a storage in memory whose clock stands still.

Nothing of the engine is replaced. A row becomes a small key: epochs relative to the row's, moments relative to now.
Equal keys behave alike, so each step is computed once and remembered.
"""

from __future__ import annotations

import copy
import logging
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.test import override_settings

from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.engine import commands, execution, sweep
from sagas.engine.dispatch import Link, StepMessage, dispatch, published_by
from sagas.engine.execution import Outcome, Stale, StepFailed, machine_of
from sagas.errors import SagaError
from sagas.holds import holds, release
from sagas.machine.state import Row
from sagas.statuses import Direction, Phase, Status
from sagas.storage import Hold, use
from sagas.storage.memory import MemoryStorage
from tests.proofs.model.protocols import BANK, OPTIONS, SETTINGS, No, Nothing, Suspended, Unanswered, script

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
SAGA_ID = uuid.UUID(int=7)
EPOCH = 10
SEQ = 100
#: The token of the row's lease; a new claim gets another one, and a worker that lost its lease holds a third.
TOKEN = 1
LOST_TOKEN = 2
#: Past this many tries counting on makes no difference.
MOST_ATTEMPTS = OPTIONS.retry.attempts + 1
FINAL = ("COMPLETED", "COMPENSATED", "CANCELLED", "FAILED")


class Key(NamedTuple):
    """A row, relative to itself. `lease` and `wake`: "" none, "due" past, "future"; "early"/"late" next to a lease.
    `deadline`: "" none, "ahead", "past"."""

    status: str
    resume: str
    direction: str
    phase: str
    position: int
    attempt: int
    dispatches: int
    lease: str
    wake: str
    deadline: str
    has_error: bool
    may_have_run: bool

    @property
    def held(self) -> bool:
        return self.phase == "HELD"


class Result(NamedTuple):
    """What one step did: the row after it, by how much its epoch rose, and everything that left the process."""

    key: Key
    rise: int
    lease: str  # "none", "kept", "new"
    saved: bool
    published: tuple[tuple[int, int], ...]  # (position, epochs behind the row)
    ended: str  # "", "moved", "waiting", "failed", "stale", "suspended", "refused"
    done: tuple[str, ...]
    events: tuple[str, ...]
    held: tuple[int, bool, int] | None = None  # (position, going back, epochs behind) of the row a worker now knows


def row_of(key: Key, saga: Saga) -> Row:
    lease_until = {"": None, "due": NOW, "future": NOW + timedelta(seconds=15)}[key.lease]
    wakes = {"": None, "due": NOW, "early": NOW + timedelta(seconds=10), "late": NOW + timedelta(seconds=20)}
    wakes["future"] = lease_until if key.lease == "future" else NOW + timedelta(seconds=10)
    return Row(
        id=SAGA_ID, name=saga.name, version=saga.version, key="k", subject="o", owner="", status=Status(key.status),
        data={"input": {"order_id": "o"}}, now=NOW, created_at=NOW, direction=Direction(key.direction),
        phase=Phase(key.phase), may_have_run=key.may_have_run, resume_status=key.resume, position=key.position,
        epoch=EPOCH, attempt=key.attempt, dispatches=key.dispatches, seq=SEQ, error="x" if key.has_error else "",
        lease_token=TOKEN if key.lease else None, lease_until=lease_until, wake_at=wakes[key.wake],
        deadline_at={"": None, "ahead": LATER, "past": NOW}[key.deadline],
        held_by=BANK if key.held else "", held_since=NOW if key.held else None,
        finished_at=NOW if key.status in FINAL else None,
    )  # fmt: skip


def key_of(row: Row) -> Key:
    lease = "" if row.lease_until is None else "future" if row.lease_until > NOW else "due"
    deadline = "" if row.deadline_at is None else "ahead" if row.deadline_at > NOW else "past"
    return Key(
        row.status.value, row.resume_status, row.direction.value, row.phase.value, row.position,
        min(row.attempt, MOST_ATTEMPTS), row.dispatches, lease, _wake(row), deadline,
        bool(row.error) and row.status is Status.NEEDS_ATTENTION, row.may_have_run,
    )  # fmt: skip


def _wake(row: Row) -> str:
    if row.wake_at is None:
        return ""
    if row.wake_at <= NOW:
        return "due"
    if row.lease_until is None or row.lease_until <= NOW or row.wake_at == row.lease_until:
        return "future"
    return "early" if row.wake_at < row.lease_until else "late"


@dataclass
class Machine:
    """Makes steps of one saga. Use it inside `running`."""

    saga: Saga
    storage: MemoryStorage
    memory: dict[Any, Result] = field(default_factory=dict)
    published: list[StepMessage] = field(default_factory=list)

    def first(self) -> Key:
        """The saga as it starts: its first, local step is done."""
        self._empty()
        script.choice = "ok"
        with self.storage.atomic():
            return key_of(commands.start(self.saga, input=Nothing("o"), key="k", subject="o"))

    def step(self, key: Key, act: str, *args: Any) -> Result:
        call = (key, act, *args)
        if (known := self.memory.get(call)) is None:
            known = self.memory[call] = self._step(key, act, args)
        return known

    def _empty(self) -> None:
        self.storage.rows.clear()
        self.storage.events.clear()
        self.storage.holds.clear()
        self.published.clear()
        script.done.clear()
        holds.forget()

    def _step(self, key: Key, act: str, args: tuple[Any, ...]) -> Result:
        self._empty()
        before = self.storage.rows[SAGA_ID] = row_of(key, self.saga)
        held, ended = None, ""
        try:
            held, ended = getattr(self, f"_{act}")(*args)
        except Suspended:
            ended = "suspended"
        except Stale:
            ended = "stale"
        except StepFailed:
            ended = "failed"
        except SagaError:
            ended = "refused"
        return self._result(before, ended, held)

    def _result(self, before: Row, ended: str, held: Row | None) -> Result:
        row = self.storage.rows[SAGA_ID]
        lease = "none" if row.lease_token is None else "kept" if row.lease_token == TOKEN else "new"
        knows = None
        if held is not None:
            knows = (held.position, held.is_going_back, row.epoch - held.epoch)
        events = self.storage.events.get(SAGA_ID, [])
        return Result(
            key_of(row), row.epoch - EPOCH, lease, row is not before,
            tuple((message.position, row.epoch - message.epoch) for message in self.published),
            ended, tuple(script.done), tuple(stored.event.action.value for stored in events), knows,
        )  # fmt: skip

    # -- acts: each returns the row its worker now knows, if any, and how it ended --------------------------------
    def _deliver(self, position: int, behind: int, is_redelivered: bool, choice: str) -> tuple[Row | None, str]:
        self._prepare(choice)
        message = StepMessage(SAGA_ID, position, EPOCH - behind)
        return self._after(*execution.run_step(message, is_redelivered=is_redelivered))

    def _ahead(self, position: int, back: bool, behind: int, is_fresh: bool, choice: str) -> tuple[Row | None, str]:
        self._prepare(choice)
        known = self._known(position, back, behind)
        known.seq -= not is_fresh
        return self._after(*execution.run_next(known))

    def _record(self, position: int, back: bool, behind: int, owns: bool, answer: str) -> tuple[Row | None, str]:
        self._prepare(answer)
        failure = {"ok": None, "refuse": No("no"), "error": Unanswered("?"), "probe": Unanswered("?")}[answer]
        claimed = self._known(position, back, behind)
        token = TOKEN if owns else LOST_TOKEN
        return self._after(*execution.record_call(claimed, machine_of(claimed), None, failure, token))

    def _prepare(self, choice: str) -> None:
        """What the step does; and that the dependency is on hold, for this saga to probe or not."""
        script.choice = choice
        if choice in ("held", "probe"):
            probe = SAGA_ID if choice == "probe" else None
            self.storage.holds[1] = Hold(BANK, "down", "op", NOW, 1, probe_saga_id=probe)

    def _known(self, position: int, back: bool, behind: int) -> Row:
        """The copy a worker keeps of a row: the row itself if nothing happened since, else an older one."""
        row = copy.deepcopy(self.storage.rows[SAGA_ID])
        if behind or row.position != position or row.is_going_back != back or not row.is_open:
            row.position, row.epoch = position, EPOCH - behind
            row.status, row.resume_status = Status.COMPENSATING if back else Status.STARTED, ""
            row.direction = Direction.BACK if back else Direction.FORWARD
            row.phase, row.attempt, row.dispatches = Phase.READY, 0, 0
        return row

    def _after(self, row: Row, outcome: Outcome) -> tuple[Row | None, str]:
        is_going_on = outcome is Outcome.MOVED and row.is_open
        return (row if is_going_on else None), outcome.value

    def _decide(self, behind: int) -> tuple[None, str]:
        row = sweep.decide(SAGA_ID, EPOCH - behind)
        if row is not None:
            dispatch(row)
        return None, ""

    def _sweep(self) -> tuple[None, str]:
        for row in sweep.sweep_batch():
            dispatch(row)
        return None, ""

    def _resume_held(self) -> tuple[None, str]:
        """The dependency was released a while ago, and it is this saga's turn."""
        released = NOW - timedelta(seconds=5)
        self.storage.holds[1] = Hold(
            BANK, "down", "op", released, 1, released_at=released, released_by="op", per_second=1.0,
            resumed_until=released,
        )  # fmt: skip
        for row in release.resume_held():
            dispatch(row)
        return None, ""

    def _cancel(self) -> tuple[None, str]:
        commands.cancel(SAGA_ID, reason_code="x", reason="x", actor="x")
        return None, ""

    def _retry(self) -> tuple[None, str]:
        commands.retry(SAGA_ID, reason="x", actor="x")
        return None, ""


@contextmanager
def running(saga: Saga, kind: type[MemoryStorage] = MemoryStorage) -> Iterator[Machine]:
    """A storage in memory, short limits, and a publisher that notes the first link of each chain."""
    machine = Machine(saga, kind(start=NOW, ids=lambda: SAGA_ID))
    with ExitStack() as stack:
        stack.enter_context(use(machine.storage))
        stack.enter_context(override_settings(SAGAS=SETTINGS))
        stack.enter_context(published_by(lambda links: _note_first(machine.published, links)))
        stack.enter_context(_silent())
        script.undo_with = machine.storage.on_rollback
        registry.register(saga)
        stack.callback(registry.unregister, saga)
        stack.callback(holds.forget)
        yield machine


def _note_first(published: list[StepMessage], links: list[Link]) -> None:
    published.append(links[0][1])


@contextmanager
def _silent() -> Iterator[None]:
    logger = logging.getLogger("sagas")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def stopped(key: Key) -> bool:
    return key.status in FINAL or key.status == "NEEDS_ATTENTION"


def at_the_next_moment(key: Key) -> Key | None:
    """Time passes until a lease runs out or the saga is due; None if there is nothing to wait for."""
    if key.wake in ("future", "early"):
        lease = "due" if key.lease == "future" and key.wake == "future" else key.lease
        return key._replace(wake="due", lease=lease)
    if key.lease == "future":
        return key._replace(lease="due", wake="future" if key.wake == "late" else key.wake)
    return None
