"""The judge: it reads rows and history, the effects and the provider, and knows nothing of the engine's state machine.

`look` is asked after every event and says what must hold always; `judge` what must hold when everything is quiet.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sagas.conf import options
from sagas.definition.saga import Saga, Step
from sagas.machine.state import Row
from sagas.storage.base import StoredEvent
from sagas.storage.memory import MemoryStorage
from tests.proofs.simulation.fixtures import DEFINITIONS, THINGS
from tests.proofs.simulation.provider import Provider
from tests.proofs.simulation.world import Effects

BY_NAME = {saga.name: saga for saga in DEFINITIONS}
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
LEFT_BEHIND = "undo_failed"
CLOCK_PRECISION = timedelta(milliseconds=2)
#: How long a process may believe that a dependency is not on hold.
BELIEVED_FOR = timedelta(seconds=1, milliseconds=1)


class Violation(AssertionError):
    """Something that must never be, was."""


class RowSeen(NamedTuple):
    id: str
    name: str
    order_id: str
    status: str
    direction: str
    phase: str
    position: int
    epoch: int
    seq: int
    error: str
    lease_until: datetime | None
    wake_at: datetime | None
    deadline_at: datetime | None
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
    created_at: datetime


@dataclass
class Watched:
    """`deadlines` are those that held when each event was seen: a hold puts the deadline off."""

    row: RowSeen
    events: list[EventSeen] = field(default_factory=list)
    deadlines: list[datetime | None] = field(default_factory=list)

    @property
    def saga(self) -> Saga:
        return BY_NAME[self.row.name]


@dataclass
class Oracle:
    provider: Provider
    storage: MemoryStorage
    effects: Effects
    watched: dict[str, Watched] = field(default_factory=dict)

    def look(self) -> list[str]:
        """Check every saga that changed. Returns their new events as lines of the trace."""
        lines: list[str] = []
        rows = sorted(self.storage.rows.values(), key=lambda row: (row.created_at, row.key))
        for number, row in enumerate(map(_seen, rows)):
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
        fresh = [_event_seen(stored) for stored in self.storage.events_of(uuid.UUID(row.id))[known:]]
        seen.events += fresh
        seen.deadlines += [row.deadline_at] * len(fresh)
        check_row(row)
        check_deadline_put_off(before, seen, fresh)
        check_history(seen)
        self._check_holds(seen)
        check_effects(seen, self.effects.of(row.order_id))
        return [f"{number} {e.seq} {e.action} {e.step} {e.saga_status} @{e.position}" for e in fresh]

    def judge(self) -> None:
        """Nothing happens any more: every saga has ended as a whole."""
        self.look()
        for seen in self.watched.values():
            check_end(seen, self.provider, self.effects.of(seen.row.order_id))

    def _check_holds(self, seen: Watched) -> None:
        """A saga that waits for a dependency on hold moves only when the hold ends or it is cancelled, and no call is
        made to what an operator holds."""
        check_order_of_holds(seen.events)
        last = seen.events[-1]
        uses = {step.name: step.uses for step in seen.saga.steps}
        uses |= {step.compensation.name: step.uses for step in seen.saga.steps if step.compensation}
        if last.action in ("step_claimed", "undo_claimed") and uses[last.step]:
            _require(not self._was_on_hold(uses[last.step], last.created_at), f"called while it was on hold: {last}")

    def _was_on_hold(self, dependency: str, at: datetime) -> bool:
        """By an operator, for longer than a process may believe what it read before."""
        return any(
            hold.dependency == dependency and not hold.is_automatic and hold.held_at < at - BELIEVED_FOR
            and (hold.released_at is None or hold.released_at > at)
            for hold in self.storage.holds.values()
        )  # fmt: skip


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)


# -- always ---------------------------------------------------------------------------------------------------------
def check_row(row: RowSeen) -> None:
    """Every saga is finished, scheduled, or parked with a reason; nothing else exists. Its direction and phase fit."""
    _require((row.status in OPEN) == (row.wake_at is not None), f"{row.status} with wake_at {row.wake_at}")
    _require((row.status in FINAL) == (row.finished_at is not None), f"{row.status}, finished at {row.finished_at}")
    _require(row.status in OPEN or row.lease_until is None, f"{row.status} with a lease")
    _require(row.status != "NEEDS_ATTENTION" or bool(row.error), "parked without a reason")
    _require((row.phase == "DONE") == (row.status in FINAL), f"{row.status}, {row.phase}")
    _require((row.phase == "PARKED") == (row.status == "NEEDS_ATTENTION"), f"{row.status}, {row.phase}")
    _require((row.phase == "RUNNING") == (row.lease_until is not None), f"{row.phase}, leased until {row.lease_until}")
    if row.status != "NEEDS_ATTENTION":
        is_back = row.status not in ("STARTED", "COMPLETED")
        _require((row.direction == "BACK") == is_back, f"{row.status}, going {row.direction}")


def check_history(seen: Watched) -> None:
    events, row, saga = seen.events, seen.row, seen.saga
    _require([event.seq for event in events] == list(range(1, row.seq + 1)), "the history has a gap")
    last = events[-1]
    place = (row.status, row.position, row.epoch)
    _require(_place(last) == place, "the history ends elsewhere")
    _require(_status_of(events) == row.status, f"the history says {_status_of(events)}, the row is {row.status}")
    _check_order(events, saga)
    _check_causes(events, saga, seen.deadlines)


def _status_of(events: Sequence[EventSeen]) -> str:
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


def _check_causes(events: Sequence[EventSeen], saga: Saga, deadlines: Sequence[datetime | None]) -> None:
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
    """The deadline moves by the time its saga was held, and never else; an operator's retry ends it."""
    if seen.row.deadline_at is None or before.deadline_at is None:
        is_ended = before.deadline_at is None or any(event.action in ("retried", "auto_retried") for event in fresh)
        _require(seen.row.deadline_at is None and is_ended, f"the deadline is {seen.row.deadline_at}")
        return
    held_for = timedelta(0)
    for event in fresh:
        if event.action == "let_go":
            held_at = next(other.created_at for other in reversed(seen.events) if _is_hold_before(other, event))
            held_for += event.created_at - held_at
    moved = seen.row.deadline_at - before.deadline_at
    _require(abs(moved - held_for) < CLOCK_PRECISION, f"held for {held_for}, but the deadline moved by {moved}")


def _is_hold_before(other: EventSeen, event: EventSeen) -> bool:
    return other.action == "held" and other.seq < event.seq


def check_order_of_holds(events: Sequence[EventSeen]) -> None:
    is_held = False
    for event in events:
        if is_held and event.action not in FENCED:
            _require(event.action in ("let_go", "cancellation_started"), f"moved on while it was held: {event}")
            is_held = False
        is_held |= event.action == "held"


def _is_caused(before: Sequence[EventSeen], saga: Saga, event: EventSeen, deadline_at: datetime | None) -> bool:
    """A recorded refusal, a spent budget of tries or dispatches, or the time was up."""
    last = before[-1]
    if (deadline_at is not None and event.created_at >= deadline_at) or last.action == "step_refused":
        return True
    if last.action in ("step_failed", "step_timed_out"):
        step = next(step for step in saga.steps if step.name == last.step)
        return last.attempt >= _attempts(step)
    return _dispatches(before) >= options().max_dispatches


def _dispatches(before: Sequence[EventSeen]) -> int:
    """How often the message was sent again since the last recorded progress."""
    dispatches = 0
    for event in reversed(before):
        if event.action in PROGRESS:
            break
        dispatches += event.action == "redriven"
    return dispatches


def _attempts(step: Step) -> int:
    return step.retry.attempts if step.retry else 4


def _check_deadline(event: EventSeen, saga: Saga, deadline_at: datetime | None) -> None:
    step = next(step for step in saga.steps if step.name == event.step)
    pivot = saga.pivot_position
    begins = event.action == "step_claimed" or not step.is_remote
    if begins and pivot is not None and step.position <= pivot:
        in_time = deadline_at is None or event.created_at < deadline_at
        _require(in_time, f"begun after the deadline: {event}")


def check_effects(seen: Watched, left: list[str]) -> None:
    """Local effects are exactly the recorded facts, each once and in their order."""
    remote = {step.name for step in seen.saga.steps if step.is_remote}
    remote |= {step.compensation.name for step in seen.saga.steps if step.is_remote and step.compensation}
    facts = [event.step for event in seen.events if event.action in ("step_completed", "undo_completed")]
    expected = [name for name in facts if name not in remote and name != "look"]
    actual = [name for name in left if name not in ("claim", "accept")]
    _require(len(actual) == len(set(actual)), f"an effect twice: {actual}")
    _require(actual == expected, f"effects {actual} are not the facts {expected}")
    claims = [name for name in left if name in ("claim", "accept")]
    _require(len(claims) <= 1, f"accepted and cancelled: {claims}")


# -- at the end -----------------------------------------------------------------------------------------------------
def check_end(seen: Watched, provider: Provider, effects: list[str]) -> None:
    row, saga = seen.row, seen.saga
    _require(row.status in FINAL or row.status == "NEEDS_ATTENTION", f"{row.name} never ended: {row}")
    if row.status == "COMPLETED":
        _check_completed(seen, provider)
    elif row.status in UNDONE:
        for step in saga.steps:
            _check_undone(seen, step, provider, effects)


def _check_completed(seen: Watched, provider: Provider) -> None:
    done = [event.step for event in seen.events if event.action == "step_completed"]
    _require(done == [step.name for step in seen.saga.steps], f"completed with {done}")
    for step in seen.saga.steps:
        if step.is_remote:
            live = provider.live(seen.row.order_id, THINGS[step.name])
            _require(live == 1, f"completed with {live} live {THINGS[step.name]}")


def _check_undone(seen: Watched, step: Step, provider: Provider, left: list[str]) -> None:
    """What was done, or may have been, is undone; a best effort may have failed, and then the history says so."""
    if step.compensation is None:
        if step.name == "settle":
            _require(provider.live(seen.row.order_id, "settlement") == 0, "a settlement outlived its saga")
        return
    left_behind = any(event.action == LEFT_BEHIND and event.step == step.compensation.name for event in seen.events)
    if step.compensation.is_best_effort and left_behind:
        return
    if step.is_remote:
        live = provider.live(seen.row.order_id, THINGS[step.name])
        _require(live == 0, f"{seen.row.status} with {THINGS[step.name]} still live")
        return
    _require((step.name in left) == (step.compensation.name in left), f"{step.name} was not undone: {left}")


# -- reading --------------------------------------------------------------------------------------------------------
def _seen(row: Row) -> RowSeen:
    return RowSeen(
        row.id.hex, row.name, row.subject, row.status.value, row.direction.value, row.phase.value, row.position,
        row.epoch, row.seq, row.error, row.lease_until, row.wake_at, row.deadline_at, row.finished_at,
    )  # fmt: skip


def _event_seen(stored: StoredEvent) -> EventSeen:
    event = stored.event
    return EventSeen(
        stored.seq, event.action.value, event.step, event.attempt, stored.epoch, stored.position,
        stored.saga_status.value, event.status, stored.created_at,
    )  # fmt: skip
