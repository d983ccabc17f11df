"""One step of the protocol, made by the production code itself: execution, recovery, engine and transitions run
unchanged on a store of one row, with a clock that stands still.

A row becomes a small key: epochs relative to the row's, moments relative to now. Equal keys behave alike, so each
step is computed once and remembered.
"""

from __future__ import annotations

import copy
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.engine import commands, execution, sweep
from sagas.engine import dispatch as publishing
from sagas.engine.dispatch import Hint
from sagas.engine.execution import Outcome, Stale, StepFailed
from sagas.errors import SagaError
from sagas.holds import holds, release
from sagas.machine import transitions
from sagas.machine.state import Row
from sagas.models import Status
from tests.proofs.model.protocols import BANK, OPTIONS, No, Suspended, Trouble, script

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
SAGA_ID = uuid.UUID(int=7)
EPOCH = 10
TOKEN = 1
NEW_TOKEN = 2
#: Past this many tries counting on makes no difference.
MOST_ATTEMPTS = OPTIONS.retry.attempts + 1


class Key(NamedTuple):
    """A row, relative to itself. `lease` and `wake`: "" none, "due" past, "future"; "early"/"late" next to a lease."""

    status: str
    resume: str
    position: int
    attempt: int
    drives: int
    lease: str
    wake: str
    is_past_deadline: bool
    has_error: bool
    tried: bool
    held: bool = False


class Result(NamedTuple):
    """What one step did: the row after it, by how much its epoch rose, and everything that left the process."""

    key: Key
    rise: int
    lease: str  # "none", "kept", "new"
    saved: bool
    published: tuple[tuple[int, int], ...]  # (position, epochs behind the row)
    ended: str  # "", "moved", "waiting", "turned", "stale", "suspended", "refused"
    done: tuple[str, ...]
    events: tuple[str, ...]
    held: tuple[int, bool, int] | None = None  # (position, going back, epochs behind) of the row a worker now knows


@dataclass
class OneRow:
    """`sagas.storage.rows`, for one row in memory."""

    row: Row
    is_fresh: bool = True
    saved: bool = False
    events: list[str] = field(default_factory=list)

    def lock(self, _: uuid.UUID) -> Row:
        return copy.deepcopy(self.row)

    def save(self, row: Row) -> None:
        self.events += [event.action.value for event in row.news]
        row.news = []
        self.row, self.saved = copy.deepcopy(row), True

    def move(self, row: Row, *, epoch: int, position: int) -> bool:
        """The compare-and-set of `store.move`; `is_fresh` says that the sequence number is the one it knows."""
        if not self.is_fresh or (self.row.epoch, self.row.position, self.row.lease_token) != (epoch, position, None):
            return False
        self.save(row)
        return True

    def try_lock(self, _: int) -> bool:
        return True

    def take_overdue(self, _: int) -> list[Row]:
        is_due = self.row.wake_at is not None and self.row.wake_at <= NOW
        return [copy.deepcopy(self.row)] if is_due else []

    def now(self) -> datetime:
        return NOW

    recent_now = now


def row_of(key: Key, saga: Saga) -> Row:
    lease_until = {"": None, "due": NOW, "future": NOW + timedelta(seconds=15)}[key.lease]
    wakes = {"": None, "due": NOW, "early": NOW + timedelta(seconds=10), "late": NOW + timedelta(seconds=20)}
    wakes["future"] = lease_until if key.lease == "future" else NOW + timedelta(seconds=10)
    data: dict[str, Any] = {"input": {"order_id": "o"}, "results": {}}
    if key.tried:
        data[transitions.TRIED_BEFORE_PARKING] = key.position
    return Row(
        id=SAGA_ID, name=saga.name, version=saga.version, key="k", subject="o", owner="", status=Status(key.status),
        data=data, now=NOW, created_at=NOW, resume_status=key.resume, position=key.position, epoch=EPOCH,
        attempt=key.attempt, drives=key.drives, error="x" if key.has_error else "",
        lease_token=TOKEN if key.lease else None, lease_until=lease_until, wake_at=wakes[key.wake],
        deadline_at=NOW if key.is_past_deadline else LATER,
        held_by=BANK if key.held else "", held_since=NOW if key.held else None,
        finished_at=NOW if key.status in FINAL else None,
    )  # fmt: skip


FINAL = ("COMPLETED", "COMPENSATED", "CANCELLED", "FAILED")


def key_of(row: Row) -> Key:
    lease = "" if row.lease_until is None else "future" if row.lease_until > NOW else "due"
    parked_or_open = row.status.value not in FINAL
    return Key(
        row.status.value, row.resume_status, row.position, min(row.attempt, MOST_ATTEMPTS), row.drives, lease,
        _wake(row), row.deadline_at == NOW, bool(row.error) and row.status is Status.NEEDS_ATTENTION,
        parked_or_open and row.data.get(transitions.TRIED_BEFORE_PARKING) == row.position, row.is_held,
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
    memory: dict[Any, Result] = field(default_factory=dict)
    store: OneRow = field(init=False)
    published: list[Hint] = field(default_factory=list)

    def first(self) -> Key:
        """The saga as `engine.start` leaves it: its first, local step is done."""
        row = row_of(Key("STARTED", "", 0, 0, 0, "", "future", False, False, False), self.saga)
        row.wake_at = None
        transitions.begin(row, self.saga)
        row.deadline_at = LATER
        transitions.complete_step(row, self.saga, None)
        return key_of(row)

    def step(self, key: Key, act: str, *args: Any) -> Result:
        call = (key, act, *args)
        if (known := self.memory.get(call)) is None:
            known = self.memory[call] = self._step(key, act, args)
        return known

    def _step(self, key: Key, act: str, args: tuple[Any, ...]) -> Result:
        self.store.row, self.store.saved, self.store.is_fresh = row_of(key, self.saga), False, True
        self.store.events.clear()
        self.published.clear()
        script.done.clear()
        held, ended = None, ""
        try:
            held, ended = getattr(self, f"_{act}")(*args)
        except Suspended:
            ended = "suspended"
        except Stale:
            ended = "stale"
        except StepFailed:
            ended = "turned"
        except SagaError:
            ended = "refused"
        return self._result(ended, held)

    def _result(self, ended: str, held: Row | None) -> Result:
        row = self.store.row
        lease = "none" if row.lease_token is None else "kept" if row.lease_token == TOKEN else "new"
        knows = None
        if held is not None:
            knows = (held.position, held.is_going_back, row.epoch - held.epoch)
        return Result(
            key_of(row), row.epoch - EPOCH, lease, self.store.saved,
            tuple((hint.position, row.epoch - hint.epoch) for hint in self.published),
            ended, tuple(script.done), tuple(self.store.events), knows,
        )  # fmt: skip

    # -- acts: each returns the row its worker now knows, if any, and how it ended --------------------------------
    def _deliver(self, position: int, behind: int, is_redelivered: bool, choice: str) -> tuple[Row | None, str]:
        script.choice = choice
        row, outcome = execution._run(Hint(SAGA_ID, position, EPOCH - behind), is_redelivered=is_redelivered)
        return self._after(row, outcome)

    def _ahead(self, position: int, back: bool, behind: int, is_fresh: bool, choice: str) -> tuple[Row | None, str]:
        script.choice, self.store.is_fresh = choice, is_fresh
        row, outcome = execution._run_ahead(self._claimed(position, back, behind))
        return self._after(row, outcome)

    def _record(self, position: int, back: bool, behind: int, owns: bool, answer: str) -> tuple[Row | None, str]:
        script.is_probe = answer == "probe"
        trouble = {"ok": None, "refuse": No("no"), "trouble": Trouble("?"), "probe": Trouble("?")}[answer]
        claimed = self._claimed(position, back, behind)
        row, outcome = execution._record_call(claimed, self.saga, None, trouble, TOKEN if owns else NEW_TOKEN + 1)
        return self._after(row, outcome)

    def _claimed(self, position: int, back: bool, behind: int) -> Row:
        """The copy a worker keeps of a row: the row itself if nothing happened since, else an older one."""
        row = copy.deepcopy(self.store.row)
        if behind or row.position != position or row.is_going_back != back:
            row.position, row.epoch = position, EPOCH - behind
            row.status, row.resume_status = Status.COMPENSATING if back else Status.STARTED, ""
        return row

    def _after(self, row: Row, outcome: Outcome) -> tuple[Row | None, str]:
        is_going_on = outcome is Outcome.MOVED and row.is_open
        return (row if is_going_on else None), outcome.value

    def _decide(self, behind: int) -> tuple[None, str]:
        row = sweep.decide(SAGA_ID, EPOCH - behind)
        if row is not None:
            publishing.drive(row)
        return None, ""

    def _sweep(self) -> tuple[None, str]:
        for row in sweep.sweep_batch():
            publishing.drive(row)
        return None, ""

    def _let_go(self) -> tuple[None, str]:
        row = self.store.lock(SAGA_ID)
        release._go_on(row, "released")
        publishing.drive(row)
        return None, ""

    def _cancel(self) -> tuple[None, str]:
        commands.cancel.__wrapped__(SAGA_ID, reason_code="x", reason="x", actor="x")  # type: ignore[attr-defined]
        return None, ""

    def _retry(self) -> tuple[None, str]:
        commands.retry.__wrapped__(SAGA_ID, reason="x", actor="x")  # type: ignore[attr-defined]
        return None, ""


@contextmanager
def running(saga: Saga) -> Iterator[Machine]:
    """The engine's modules on the machine's store, and a publisher that only notes the first link of each chain."""
    machine = Machine(saga)
    machine.store = OneRow(row_of(Key("STARTED", "", 0, 0, 0, "", "future", False, False, False), saga))
    logger = logging.getLogger("sagas")
    with ExitStack() as stack:
        for module in (execution, sweep, commands, release):
            stack.enter_context(mock.patch.object(module, "rows", machine.store))
            stack.enter_context(mock.patch.object(module, "transaction", _transactions(machine.store)))
        for module in (execution, sweep, transitions):
            stack.enter_context(mock.patch.object(module, "options", return_value=OPTIONS))
        _hold_as_the_script_says(stack)
        stack.enter_context(mock.patch.object(transitions.secrets, "randbits", return_value=NEW_TOKEN))
        stack.enter_context(mock.patch.object(logger, "disabled", True))
        first = _first_link(machine.published)
        stack.callback(publishing.set_publisher, publishing.set_publisher(first))
        registry.register(saga)
        stack.callback(registry.unregister, saga)
        yield machine


def _hold_as_the_script_says(stack: ExitStack) -> None:
    """Whether a call is on hold, and whether its saga is the one to try, is anybody's guess at every call.

    What the engine remembers of holds, and the breaker that counts troubles, decide nothing else.
    """
    answers = {
        "blocks": lambda dependency, _: bool(dependency) and script.choice == "held",
        "is_probe": lambda dependency, _: bool(dependency) and script.is_probe,
        "tell": lambda *_: None,
        "count_trouble": lambda *_: None,
    }
    for name, answer in answers.items():
        stack.enter_context(mock.patch.object(holds, name, answer))


def _transactions(store: OneRow) -> SimpleNamespace:
    """Transactions of the one row: what an exception ends was never written."""

    @contextmanager
    def atomic() -> Iterator[None]:
        before = store.row, store.saved, len(store.events), len(script.done)
        try:
            yield
        except BaseException:
            store.row, store.saved = before[:2]
            del store.events[before[2] :], script.done[before[3] :]
            raise

    return SimpleNamespace(atomic=atomic, on_commit=lambda callback, robust=False: callback())


def _first_link(published: list[Hint]) -> Callable[[list[tuple[str, Hint]]], None]:
    return lambda chain: published.append(chain[0][1])


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
