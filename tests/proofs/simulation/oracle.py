"""The judge: it reads rows and history, the table of effects and the provider, and knows nothing of the engine's code.

`look` is asked after every event and says what must hold always; `judge` what must hold when everything is quiet.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection

from sagas.conf import options
from sagas.definition.saga import Saga, Step
from tests.proofs.simulation.fixtures import JOURNEYS, THINGS, effects
from tests.proofs.simulation.provider import Provider

DEFINITIONS = {saga.name: saga for saga in JOURNEYS}
OPEN = {"STARTED", "COMPENSATING", "CANCELLING"}
UNDONE = {"COMPENSATED", "CANCELLED", "FAILED"}
FINAL = {"COMPLETED", *UNDONE}
FENCED = {"step_fenced", "undo_fenced"}
PROGRESS = {
    "saga_started",
    "step_completed",
    "undo_completed",
    "step_retrying",
    "undo_retrying",
    "retried",
    "auto_retried",
    "held",
}
LET_GO = "undo_failed"
#: The database of the simulation counts milliseconds.
CLOCK_PRECISION = timedelta(milliseconds=2)
ROW = "id, name, subject, status, position, epoch, seq, error, lease_until, wake_at, deadline_at, finished_at"
EVENT = "seq, action, step, attempt, epoch, position, saga_status, status, payload, created_at"


class Violation(AssertionError):
    """Something that must never be, was."""


class RowSeen(NamedTuple):
    id: str
    name: str
    order_id: str
    status: str
    position: int
    epoch: int
    seq: int
    error: str
    lease_until: datetime | None
    wake_at: datetime | None
    deadline_at: datetime
    finished_at: datetime | None


class EventSeen(NamedTuple):
    seq: int
    action: str
    step: str
    attempt: int
    epoch: int
    position: int
    saga_status: str
    status: str
    payload: str | None
    created_at: datetime


@dataclass
class Watched:
    """`deadlines` are those that held when each event was seen: a hold puts the deadline off."""

    row: RowSeen
    events: list[EventSeen] = field(default_factory=list)
    deadlines: list[datetime] = field(default_factory=list)

    @property
    def saga(self) -> Saga:
        return DEFINITIONS[self.row.name]


@dataclass
class Oracle:
    provider: Provider
    watched: dict[str, Watched] = field(default_factory=dict)

    def look(self) -> list[str]:
        """Check every saga that changed. Returns their new events as lines of the trace."""
        lines: list[str] = []
        for number, row in enumerate(_rows()):
            seen = self.watched.get(row.id)
            if seen is not None and seen.row == row:
                continue
            lines += self._look_at(number, row, seen)
        for order_id, thing in list(self.provider.things):
            _require(self.provider.live(order_id, thing) <= 1, f"two live at once: {thing} of {order_id}")
        return lines

    def _look_at(self, number: int, row: RowSeen, seen: Watched | None) -> list[str]:
        if seen is None:
            seen = self.watched[row.id] = Watched(row)
        before, seen.row = seen.row, row
        known = len(seen.events)
        fresh = _events(row.id, known)
        seen.events += fresh
        seen.deadlines += [row.deadline_at] * len(fresh)
        check_row(row)
        check_deadline_put_off(before, seen, fresh)
        check_history(seen)
        check_effects(seen)
        return [f"{number} {e.seq} {e.action} {e.step} {e.saga_status} @{e.position}" for e in fresh]

    def judge(self) -> None:
        """Nothing happens any more: every saga has ended as a whole."""
        self.look()
        for seen in self.watched.values():
            check_end(seen, self.provider)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


# -- always ---------------------------------------------------------------------------------------------------------
def check_row(row: RowSeen) -> None:
    """Every saga is finished, scheduled, or parked with a reason; nothing else exists."""
    _require((row.status in OPEN) == (row.wake_at is not None), f"{row.status} with wake_at {row.wake_at}")
    _require((row.status in FINAL) == (row.finished_at is not None), f"{row.status}, finished at {row.finished_at}")
    _require(row.status in OPEN or row.lease_until is None, f"{row.status} with a lease")
    _require(row.status != "NEEDS_ATTENTION" or bool(row.error), "parked without a reason")


def check_history(seen: Watched) -> None:
    events, row, saga = seen.events, seen.row, seen.saga
    _require([event.seq for event in events] == list(range(1, row.seq + 1)), "the history has a gap")
    last = events[-1]
    place = (row.status, row.position, row.epoch)
    _require(_place(last) == place, "the history ends elsewhere")
    _require(fold(events) == row.status, f"the history folds to {fold(events)}, the row is {row.status}")
    _check_order(events, saga)
    _check_causes(events, saga, seen.deadlines)
    check_holds(events, saga)


def fold(events: Sequence[EventSeen]) -> str:
    status = ""
    for event in events:
        if event.action in ("saga_started", "retried", "auto_retried", "finished", "parked"):
            status = event.status
        elif event.action in ("compensation_started", "cancellation_started"):
            status = "COMPENSATING" if event.action == "compensation_started" else "CANCELLING"
    return status


def _check_order(events: Sequence[EventSeen], saga: Saga) -> None:
    """Steps complete one after the other; compensations run once each, in strict reverse; fenced facts move nothing."""
    done = [event.step for event in events if event.action == "step_completed"]
    _require(done == [step.name for step in saga.steps[: len(done)]], f"steps out of order: {done}")
    undone = _positions([event for event in events if event.action == "undo_completed"], saga)
    _require(undone == sorted(set(undone), reverse=True), f"undone out of order: {undone}")
    for before, event in itertools.pairwise(events):
        if event.action in FENCED:
            _require(_place(before) == _place(event), f"a late answer moved the saga: {event}")


def _positions(events: Sequence[EventSeen], saga: Saga) -> list[int]:
    at = {step.compensation.name: step.position for step in saga.steps if step.compensation}
    return [at[event.step] for event in events]


def _place(event: EventSeen) -> tuple[str, int, int]:
    return event.saga_status, event.position, event.epoch


def _check_causes(events: Sequence[EventSeen], saga: Saga, deadlines: Sequence[datetime]) -> None:
    """Nothing is undone that neither failed nor was cancelled, and no step starts when the time is up."""
    backwards = sent_on = False
    for number, (event, deadline_at) in enumerate(zip(events, deadlines, strict=True)):
        if event.action == "compensation_started":
            _require(_is_caused(events[:number], saga, event, deadline_at), f"went back without a cause: {event}")
        backwards |= event.action in ("compensation_started", "cancellation_started")
        sent_on |= event.action in ("retried", "auto_retried")
        if event.action.startswith("undo_"):
            _require(backwards, f"undone, but nobody went back: {event}")
        if event.action in ("step_claimed", "step_completed") and number > 0:
            _require(not backwards or event.action != "step_completed", f"went on after going back: {event}")
            if not sent_on:  # an operator is not bound by the deadline
                _check_deadline(event, saga, deadline_at)


def check_deadline_put_off(before: RowSeen, seen: Watched, fresh: Sequence[EventSeen]) -> None:
    """The deadline moves by the time its saga was held, and never else."""
    held_for = timedelta(0)
    for event in fresh:
        if event.action == "let_go":
            held_at = next(other.created_at for other in reversed(seen.events) if _is_hold_before(other, event))
            held_for += event.created_at - held_at
    moved = seen.row.deadline_at - before.deadline_at
    _require(abs(moved - held_for) < CLOCK_PRECISION, f"held for {held_for}, but the deadline moved by {moved}")


def _is_hold_before(other: EventSeen, event: EventSeen) -> bool:
    return other.action == "held" and other.seq < event.seq


def check_holds(events: Sequence[EventSeen], saga: Saga) -> None:
    """Who waits for what is on hold moves only when let go or cancelled, and nobody calls what a person holds."""
    is_held = False
    uses = {step.name: step.uses for step in saga.steps}
    uses |= {step.compensation.name: step.uses for step in saga.steps if step.compensation}
    for event in events:
        if is_held and event.action not in FENCED:
            _require(event.action in ("let_go", "cancellation_started"), f"moved on while it was held: {event}")
            is_held = False
        is_held |= event.action == "held"
    last = events[-1]
    if last.action in ("step_claimed", "undo_claimed") and uses[last.step]:
        _require(not _was_on_hold(uses[last.step], last.created_at), f"called while it was on hold: {last}")


def _is_caused(before: Sequence[EventSeen], saga: Saga, event: EventSeen, deadline_at: datetime) -> bool:
    """A recorded refusal, a spent budget of tries or re-drives, or the time was up."""
    last = before[-1]
    if event.created_at >= deadline_at:
        return True
    if last.action in ("step_failed", "step_timed_out"):
        step = next(step for step in saga.steps if step.name == last.step)
        refused = last.action == "step_failed" and '"code": "journey.' in (last.payload or "")
        return refused or last.attempt >= _attempts(step)
    return _drives(before) >= options().max_drives


def _drives(before: Sequence[EventSeen]) -> int:
    """Re-drives since the last recorded progress."""
    drives = 0
    for event in reversed(before):
        if event.action in PROGRESS:
            break
        drives += event.action == "redriven"
    return drives


def _attempts(step: Step) -> int:
    return step.retry.attempts if step.retry else 4


def _check_deadline(event: EventSeen, saga: Saga, deadline_at: datetime) -> None:
    step = next(step for step in saga.steps if step.name == event.step)
    pivot = saga.pivot_position
    begins = event.action == "step_claimed" or not step.is_remote
    if begins and pivot is not None and step.position <= pivot:
        _require(event.created_at < deadline_at, f"begun after the deadline: {event}")


def check_effects(seen: Watched) -> None:
    """Local effects are exactly the recorded facts, each once and in their order."""
    remote = {step.name for step in seen.saga.steps if step.is_remote}
    remote |= {step.compensation.name for step in seen.saga.steps if step.is_remote and step.compensation}
    facts = [event.step for event in seen.events if event.action in ("step_completed", "undo_completed")]
    expected = [name for name in facts if name not in remote and name != "look"]
    left = effects(seen.row.order_id)
    actual = [name for name in left if name not in ("claim", "accept")]
    _require(len(actual) == len(set(actual)), f"an effect twice: {actual}")
    _require(actual == expected, f"effects {actual} are not the facts {expected}")
    claims = [name for name in left if name in ("claim", "accept")]
    _require(len(claims) <= 1, f"accepted and cancelled: {claims}")


# -- at the end -----------------------------------------------------------------------------------------------------
def check_end(seen: Watched, provider: Provider) -> None:
    row, saga = seen.row, seen.saga
    _require(row.status in FINAL or row.status == "NEEDS_ATTENTION", f"{row.name} never ended: {row}")
    if row.status == "COMPLETED":
        _check_completed(seen, provider)
    elif row.status in UNDONE:
        for step in saga.steps:
            _check_undone(seen, step, provider)


def _check_completed(seen: Watched, provider: Provider) -> None:
    done = [event.step for event in seen.events if event.action == "step_completed"]
    _require(done == [step.name for step in seen.saga.steps], f"completed with {done}")
    for step in seen.saga.steps:
        if step.is_remote:
            live = provider.live(seen.row.order_id, THINGS[step.name])
            _require(live == 1, f"completed with {live} live {THINGS[step.name]}")


def _check_undone(seen: Watched, step: Step, provider: Provider) -> None:
    """What was done, or may have been, is undone; a best effort may have been let go, and then that is noted."""
    if step.compensation is None:
        if step.name == "settle":
            _require(provider.live(seen.row.order_id, "settlement") == 0, "a settlement outlived its saga")
        return
    let_go = any(event.action == LET_GO and event.step == step.compensation.name for event in seen.events)
    if step.compensation.is_best_effort and (let_go or _timed_out(seen, step.compensation.name)):
        return
    if step.is_remote:
        live = provider.live(seen.row.order_id, THINGS[step.name])
        _require(live == 0, f"{seen.row.status} with {THINGS[step.name]} still live")
        return
    left = effects(seen.row.order_id)
    _require((step.name in left) == (step.compensation.name in left), f"{step.name} was not undone: {left}")


def _timed_out(seen: Watched, name: str) -> bool:
    """A best effort whose last try was never answered, or that nobody got to for too long, is let go as well."""
    mine = [event for event in seen.events if event.step == name]
    last = options().undo_retry.attempts
    is_spent = any(event.action == "undo_timed_out" and event.attempt >= last for event in mine)
    return is_spent or sum(event.action == "redriven" for event in mine) >= options().max_drives


# -- reading --------------------------------------------------------------------------------------------------------
def _rows() -> list[RowSeen]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {ROW} FROM sagas_sagainstance ORDER BY created_at, key")
        return [RowSeen(*values) for values in cursor.fetchall()]


def _was_on_hold(dependency: str, at: datetime) -> bool:
    """By a person, for longer than a process may believe what it read before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM sagas_sagahold WHERE dependency = %s AND NOT is_automatic AND held_at < %s "
            "AND (released_at IS NULL OR released_at > %s)",
            [dependency, at - timedelta(seconds=1, milliseconds=1), at],
        )
        return cursor.fetchone() is not None


def _events(saga_id: str, known: int) -> list[EventSeen]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {EVENT} FROM sagas_sagaevent WHERE saga_id = %s AND seq > %s ORDER BY seq", [saga_id, known]
        )
        return [EventSeen(*values) for values in cursor.fetchall()]
