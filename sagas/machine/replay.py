"""Folding a saga's history back into its row: each fact must have been lawful where the saga stood.

This is the state machine of `sagas.machine.transitions` read backwards, from what was recorded: which facts may follow
which, where each leaves the saga, and that undos are the reverse of what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sagas.definition.saga import Saga
from sagas.models import FINAL, GOING_BACK, Action, Status


class Fact(NamedTuple):
    """What folding reads of an event. `saga_status`, `position` and `epoch` are the saga's after the event's commit,
    which may have written more events than this one."""

    seq: int
    action: str
    step: str
    status: str
    attempt: int
    saga_status: str
    position: int
    epoch: int

    @property
    def after(self) -> tuple[str, int, int]:
        return self.saga_status, self.position, self.epoch


class Unlawful(Exception):
    """A fact that the state machine can't have stated there; says which and why."""


def fold(saga: Saga, history: Sequence[Fact]) -> tuple[str, int, int]:
    """The status, position and epoch that the history of a saga leads to. Raises `Unlawful`."""
    standing = _Standing(saga)
    for index, fact in enumerate(history):
        standing.take(fact)
        is_end_of_commit = index + 1 == len(history) or history[index + 1].after != fact.after
        if is_end_of_commit and standing.now != fact.after:
            raise Unlawful(f"#{fact.seq} {fact.action} says {words(fact.after)}; what led there, {words(standing.now)}")
    return standing.now


def words(state: tuple[str, int, int]) -> str:
    return f"{state[0]} at {state[1]}, epoch {state[2]}"


@dataclass
class _Standing:
    """Where the saga stands after the facts taken so far. `is_claimed`: the call at `position` may have been made."""

    saga: Saga
    status: str = ""
    position: int = 0
    epoch: int = 1
    resume_status: str = ""
    is_claimed: bool = False
    is_closed: bool = False
    previous: Fact | None = None

    @property
    def now(self) -> tuple[str, int, int]:
        return self.status, self.position, self.epoch

    def take(self, fact: Fact) -> None:
        handler = HANDLERS.get(fact.action)
        if handler is None:
            raise Unlawful(f"#{fact.seq} {fact.action!r} is no action")
        handler(self, fact)
        self.previous = fact

    # -- forward ------------------------------------------------------------------------------------------------
    def started(self, fact: Fact) -> None:
        self._require(self.previous is None, fact, "a saga starts once, and first")
        self.status = Status.STARTED.value

    def claimed(self, fact: Fact) -> None:
        self._require_here(fact, is_undo=False)
        self.is_claimed = True

    def step_completed(self, fact: Fact) -> None:
        self._require_here(fact, is_undo=False)
        self._advance()

    def step_failed(self, fact: Fact) -> None:
        self._require_here(fact, is_undo=False)

    def step_retrying(self, fact: Fact) -> None:
        self._require_here(fact, is_undo=False)
        self.epoch += 1

    def held(self, fact: Fact) -> None:
        """The call waits for a dependency on hold; messages sent before do not count any more."""
        self._require_here(fact, is_undo=self.status in GOING_BACK)
        self.epoch += 1

    # -- back ---------------------------------------------------------------------------------------------------
    def compensating(self, fact: Fact) -> None:
        self._require(self.status == Status.STARTED, fact, f"a {self.status} saga does not fail")
        refused = (
            self.previous is not None and self.previous.action == Action.STEP_FAILED and self.previous.attempt == 1
        )
        # Whether a first try was refused, and so certainly left nothing, or failed, is not in the history.
        places = [self.position, self.position - 1] if self.is_claimed and refused else [self._start()]
        starts = [self._last_to_undo(place) for place in places]
        self._turn(Status.COMPENSATING, fact.position if fact.position in starts else starts[0])

    def cancelling(self, fact: Fact) -> None:
        if self.status == Status.COMPENSATING:
            self._turn(Status.CANCELLING, self.position)
            return
        is_parked_forward = self.status == Status.NEEDS_ATTENTION and self.resume_status == Status.STARTED
        is_lawful = self.status in (Status.STARTED, Status.COMPLETED) or is_parked_forward
        self._require(is_lawful, fact, f"a {self.status} saga is not cancelled")
        self._turn(Status.CANCELLING, self._last_to_undo(self._start()))

    def undo_noted(self, fact: Fact) -> None:
        self._require_here(fact, is_undo=True)

    def undo_completed(self, fact: Fact) -> None:
        self._require_here(fact, is_undo=True)
        self._undo_next()

    def undo_retrying(self, fact: Fact) -> None:
        self._require_here(fact, is_undo=True)
        self.epoch += 1

    def undo_failed(self, fact: Fact) -> None:
        self._require_here(fact, is_undo=True)
        if self._is_best_effort():
            self._undo_next()

    def stood_still(self, fact: Fact) -> None:
        """A best effort that never answers is let go, which is not a fact of its own."""
        while self.status in GOING_BACK and fact.position < self.position and self._is_best_effort():
            self._undo_next()

    # -- a person's ---------------------------------------------------------------------------------------------
    def parked(self, fact: Fact) -> None:
        self._require(self.status in (Status.STARTED, *GOING_BACK), fact, f"a {self.status} saga is not parked")
        self.resume_status, self.status = self.status, Status.NEEDS_ATTENTION.value

    def sent_on(self, fact: Fact) -> None:
        self._require(self.status == Status.NEEDS_ATTENTION, fact, f"the saga is {self.status}, not parked")
        self.status, self.resume_status = self.resume_status, ""
        self.epoch += 1
        if fact.action == Action.SKIPPED and self.status in GOING_BACK:
            self._undo_next()
        elif fact.action == Action.SKIPPED:
            self._advance()
        self.is_closed = fact.action == Action.CLOSED

    # -- the end ------------------------------------------------------------------------------------------------
    def finished(self, fact: Fact) -> None:
        self.stood_still(fact)
        is_through = self.position == len(self.saga.steps) if self.status == Status.STARTED else self.position < 0
        self._require(is_through or self.is_closed, fact, f"the saga stands at {self.position}")
        is_lawful = fact.status in FINAL and fact.status in _ENDS.get(self.status, ())
        self._require(is_lawful, fact, f"a {self.status} saga does not end {fact.status}")
        self.status = fact.status

    def nothing(self, fact: Fact) -> None:
        """A late answer that was kept, or the end of a wait: it moves nothing."""

    # -- small parts --------------------------------------------------------------------------------------------
    def _require(self, is_lawful: bool, fact: Fact, why: str) -> None:
        if not is_lawful:
            raise Unlawful(f"#{fact.seq} {fact.action} {fact.step}".rstrip() + f": {why}")

    def _require_here(self, fact: Fact, *, is_undo: bool) -> None:
        is_right_way = self.status in GOING_BACK if is_undo else self.status == Status.STARTED
        self._require(is_right_way, fact, f"the saga is {self.status}")
        self._require(fact.step == self._name(), fact, f"next is {self._name() or 'nothing'}")

    def _name(self) -> str:
        if not 0 <= self.position < len(self.saga.steps):
            return ""
        step = self.saga.steps[self.position]
        if self.status not in GOING_BACK:
            return step.name
        return step.compensation.name if step.compensation else ""

    def _is_best_effort(self) -> bool:
        compensation = self.saga.steps[self.position].compensation if self.position >= 0 else None
        return compensation is not None and compensation.is_best_effort

    def _start(self) -> int:
        return self.position if self.is_claimed else self.position - 1

    def _last_to_undo(self, start: int) -> int:
        return next((place for place in range(start, -1, -1) if self.saga.steps[place].compensation), -1)

    def _turn(self, status: Status, position: int) -> None:
        self.status, self.position, self.resume_status = status.value, position, ""
        self.epoch += 1
        self.is_claimed = False

    def _advance(self) -> None:
        self.position += 1
        self.is_claimed = False

    def _undo_next(self) -> None:
        self.position = self._last_to_undo(self.position - 1)


_ENDS: Mapping[str, tuple[str, ...]] = {
    Status.STARTED: (Status.COMPLETED,),
    Status.COMPENSATING: (Status.COMPENSATED, Status.FAILED),
    Status.CANCELLING: (Status.CANCELLED,),
}
HANDLERS: Mapping[str, Callable[[Any, Fact], None]] = {
    Action.STARTED: _Standing.started,
    Action.STEP_CLAIMED: _Standing.claimed,
    Action.STEP_COMPLETED: _Standing.step_completed,
    Action.STEP_RETRYING: _Standing.step_retrying,
    Action.STEP_FAILED: _Standing.step_failed,
    Action.STEP_TIMED_OUT: _Standing.step_failed,
    Action.STEP_FENCED: _Standing.nothing,
    Action.HELD: _Standing.held,
    Action.LET_GO: _Standing.nothing,
    Action.COMPENSATION_STARTED: _Standing.compensating,
    Action.CANCELLATION_STARTED: _Standing.cancelling,
    Action.UNDO_CLAIMED: _Standing.undo_noted,
    Action.UNDO_COMPLETED: _Standing.undo_completed,
    Action.UNDO_RETRYING: _Standing.undo_retrying,
    Action.UNDO_FAILED: _Standing.undo_failed,
    Action.UNDO_TIMED_OUT: _Standing.stood_still,
    Action.UNDO_FENCED: _Standing.nothing,
    Action.REDRIVEN: _Standing.stood_still,
    Action.PARKED: _Standing.parked,
    Action.RETRIED: _Standing.sent_on,
    Action.AUTO_RETRIED: _Standing.sent_on,
    Action.SKIPPED: _Standing.sent_on,
    Action.CLOSED: _Standing.sent_on,
    Action.FINISHED: _Standing.finished,
}
