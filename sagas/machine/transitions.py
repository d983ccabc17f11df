"""The state machine: what each fact makes of a saga's row. There is no other way to change where a saga stands.

`record` applies a fact to the row and keeps it for the history. `sagas.machine.replay` applies the facts of the history
through the same functions. Which fact comes next is decided in `sagas.machine.decisions`. Only the standard library is
used, and neither clock nor options: the facts alone determine status, direction, phase, position, epoch, attempt,
dispatches, `may_have_run`, `resume_status` and `held_by`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sagas.definition.saga import Compensation, Saga
from sagas.machine.state import Event, Row
from sagas.statuses import FINAL, OPEN, SUSPENDED, Action, Direction, Phase, Status

#: Statuses of an answer that came after its saga had moved on: its lease still stood and ends now, or it had none left.
LATE = "LATE"
STALE = "STALE"

Transition = Callable[[Row, Saga, Event], None]


class Unlawful(Exception):
    """The fact cannot happen to a saga that stands there; the message says which fact and why."""


def record(row: Row, saga: Saga, event: Event) -> None:
    """Let a fact happen: change the row, and append the fact to the history when the row is saved.

    Raises `Unlawful`, which means an error in the engine; nothing is saved then.
    """
    apply(row, saga, event)
    row.pending_events.append(event)


def apply(row: Row, saga: Saga, event: Event) -> None:
    """Change the row as the fact says. Raises `Unlawful`."""
    TRANSITIONS[event.action](row, saga, event)


# -- forward --------------------------------------------------------------------------------------------------------
def _started(row: Row, saga: Saga, event: Event) -> None:
    _require(row.seq == 0 and not row.pending_events, event, "a saga starts once, and first")


def _claimed(row: Row, saga: Saga, event: Event) -> None:
    """A call begins. One that replaces a call in flight does not know what became of that one."""
    _require_here(row, saga, event)
    row.may_have_run |= row.has_own_call
    row.attempt = event.attempt
    row.phase = Phase.RUNNING


def _step_completed(row: Row, saga: Saga, event: Event) -> None:
    _require_here(row, saga, event)
    _advance(row)


def _failed(row: Row, saga: Saga, event: Event) -> None:
    """A try ended without an answer for good. What a call did then is unknown; a local step left nothing."""
    _require_here(row, saga, event)
    row.attempt = event.attempt
    _end_call(row)
    row.may_have_run |= saga.steps[row.position].is_remote


def _refused(row: Row, saga: Saga, event: Event) -> None:
    """The step answered no: this try had no effect."""
    _require_here(row, saga, event)
    row.attempt = event.attempt
    _end_call(row)


def _retrying(row: Row, saga: Saga, event: Event) -> None:
    """A try failed and is repeated later: no message of the failed try acts any more."""
    _failed(row, saga, event)
    row.phase = Phase.RETRYING
    row.epoch += 1
    row.dispatches = 0


def _fenced(row: Row, saga: Saga, event: Event) -> None:
    """A call answered after its saga had moved on. Its own lease, if it still has one, ends."""
    if event.status != STALE and row.phase is Phase.RUNNING and not row.has_own_call:
        _end_call(row)


def _redispatched(row: Row, saga: Saga, event: Event) -> None:
    _require(row.status in OPEN and row.phase not in SUSPENDED, event, f"the saga is {row.status}, {row.phase}")
    _end_call(row)
    row.dispatches += 1


# -- back -----------------------------------------------------------------------------------------------------------
def _compensating(row: Row, saga: Saga, event: Event) -> None:
    _require(row.status is Status.STARTED, event, f"a {row.status} saga does not go back after a failure")
    _turn_back(row, saga, Status.COMPENSATING)


def _cancelling(row: Row, saga: Saga, event: Event) -> None:
    """Cancelled: go back from where the saga stands, or go on going back."""
    compensates = Status.COMPENSATING in (row.status, row.resume_status)
    forward = row.status in (Status.STARTED, Status.COMPLETED) or row.resume_status == Status.STARTED
    _require(compensates or forward, event, f"a {row.status} saga is not cancelled")
    if compensates:
        row.status, row.resume_status = Status.CANCELLING, ""
        _begin_again(row)
        row.phase = row.phase if row.phase is Phase.RUNNING else Phase.READY
    else:
        _turn_back(row, saga, Status.CANCELLING)


def _undo_completed(row: Row, saga: Saga, event: Event) -> None:
    _require_here(row, saga, event)
    _undo_next(row, saga)


def _undo_failed(row: Row, saga: Saga, event: Event) -> None:
    """A compensation failed for good. A best effort is left behind; any other parks the saga next."""
    _failed(row, saga, event)
    if compensation_at(saga, row.position).is_best_effort:
        _undo_next(row, saga)


# -- parked, and an operator's ----------------------------------------------------------------------------------------
def _parked(row: Row, saga: Saga, event: Event) -> None:
    _require(row.status in OPEN, event, f"a {row.status} saga is not parked")
    row.resume_status, row.status = row.status.value, Status.NEEDS_ATTENTION
    _end_call(row)
    row.phase = Phase.PARKED
    row.dispatches = 0


def _retried(row: Row, saga: Saga, event: Event) -> None:
    """Sent on with fresh retries. What the parked call may have done stays known."""
    _leave_parking(row, event)
    row.phase = Phase.READY
    row.attempt = row.dispatches = 0


def _skipped(row: Row, saga: Saga, event: Event) -> None:
    _leave_parking(row, event)
    if row.is_going_back:
        _undo_next(row, saga)
    else:
        _advance(row)


def _closed(row: Row, saga: Saga, event: Event) -> None:
    _leave_parking(row, event)
    row.phase = Phase.DONE


# -- holds ----------------------------------------------------------------------------------------------------------
def _held(row: Row, saga: Saga, event: Event) -> None:
    """The call waits for a dependency on hold: no message sent before acts any more."""
    _require_here(row, saga, event)
    row.may_have_run |= row.has_own_call
    row.attempt = event.attempt
    _end_call(row)
    row.phase, row.held_by = Phase.HELD, saga.steps[row.position].uses
    row.epoch += 1
    row.dispatches = 0


def _hold_ended(row: Row, saga: Saga, event: Event) -> None:
    _require(row.phase is Phase.HELD, event, "the saga is not held")
    row.phase, row.held_by = Phase.READY, ""


# -- the end --------------------------------------------------------------------------------------------------------
def _finished(row: Row, saga: Saga, event: Event) -> None:
    is_through = row.position < 0 if row.is_going_back else row.position == len(saga.steps)
    _require(is_through or row.phase is Phase.DONE, event, f"the saga stands at {row.position}")
    is_lawful = event.status in FINAL and event.status in _ENDS.get(row.status, ())
    _require(is_lawful, event, f"a {row.status} saga does not end {event.status}")
    row.status = Status(event.status)
    _end_call(row)
    row.phase = Phase.DONE


_ENDS: Mapping[Status, tuple[Status, ...]] = {
    Status.STARTED: (Status.COMPLETED,),
    Status.COMPENSATING: (Status.COMPENSATED, Status.FAILED),
    Status.CANCELLING: (Status.CANCELLED,),
}
TRANSITIONS: Mapping[Action, Transition] = {
    Action.STARTED: _started,
    Action.STEP_CLAIMED: _claimed,
    Action.STEP_COMPLETED: _step_completed,
    Action.STEP_RETRYING: _retrying,
    Action.STEP_FAILED: _failed,
    Action.STEP_REFUSED: _refused,
    Action.STEP_TIMED_OUT: _failed,
    Action.STEP_FENCED: _fenced,
    Action.COMPENSATION_STARTED: _compensating,
    Action.CANCELLATION_STARTED: _cancelling,
    Action.UNDO_CLAIMED: _claimed,
    Action.UNDO_COMPLETED: _undo_completed,
    Action.UNDO_RETRYING: _retrying,
    Action.UNDO_FAILED: _undo_failed,
    Action.UNDO_TIMED_OUT: _failed,
    Action.UNDO_FENCED: _fenced,
    Action.REDISPATCHED: _redispatched,
    Action.PARKED: _parked,
    Action.RETRIED: _retried,
    Action.AUTO_RETRIED: _retried,
    Action.SKIPPED: _skipped,
    Action.CLOSED: _closed,
    Action.HELD: _held,
    Action.HOLD_ENDED: _hold_ended,
    Action.FINISHED: _finished,
}


# -- where a saga stands ----------------------------------------------------------------------------------------------
def step_name(row: Row, saga: Saga) -> str:
    """The step or compensation the saga stands at; empty when it is past either end."""
    if not 0 <= row.position < len(saga.steps):
        return ""
    return compensation_at(saga, row.position).name if row.is_going_back else saga.steps[row.position].name


def compensation_at(saga: Saga, position: int) -> Compensation:
    compensation = saga.steps[position].compensation
    if compensation is None:
        raise LookupError(f"{saga.name} step {position} has no compensation")
    return compensation


def call_may_have_run(row: Row, saga: Saga) -> bool:
    """Whether the call at `position` may have had its effect. A local step that did not complete left nothing."""
    if not 0 <= row.position < len(saga.steps) or not saga.steps[row.position].is_remote:
        return False
    return row.may_have_run or row.has_own_call


# -- small parts ------------------------------------------------------------------------------------------------------
def _require(is_lawful: bool, event: Event, why: str) -> None:
    if not is_lawful:
        raise Unlawful(f"{event.action} {event.step}".rstrip() + f": {why}")


_UNDOS = frozenset({Action.UNDO_CLAIMED, Action.UNDO_COMPLETED, Action.UNDO_RETRYING, Action.UNDO_FAILED,
                    Action.UNDO_TIMED_OUT})  # fmt: skip


def _require_here(row: Row, saga: Saga, event: Event) -> None:
    """The fact is about the step, or the compensation, that the saga stands at."""
    is_right_way = row.is_going_back == (event.action in _UNDOS) or event.action is Action.HELD
    _require(row.status in OPEN and is_right_way, event, f"the saga is {row.status}")
    name = step_name(row, saga)
    _require(event.step == name, event, f"next is {name or 'nothing'}")


def _end_call(row: Row) -> None:
    """No call is in flight any more: it has answered, or never will."""
    row.phase = Phase.READY
    row.lease_token = row.lease_until = None


def _advance(row: Row) -> None:
    row.position += 1
    _progressed(row)


def _undo_next(row: Row, saga: Saga) -> None:
    row.position = last_to_undo(saga, row.position - 1)
    _progressed(row)


def _progressed(row: Row) -> None:
    row.attempt = row.dispatches = 0
    row.may_have_run = False
    _end_call(row)


def last_to_undo(saga: Saga, start: int) -> int:
    """The last position at or before `start` that has a compensation; -1 if none has."""
    return next((position for position in range(start, -1, -1) if saga.steps[position].compensation), -1)


def _turn_back(row: Row, saga: Saga, status: Status) -> None:
    """Undo, in reverse, every step that completed or may have. A call in flight keeps its lease and is waited for."""
    start = row.position if call_may_have_run(row, saga) else row.position - 1
    row.status, row.resume_status, row.direction = status, "", Direction.BACK
    row.position = last_to_undo(saga, start)
    row.may_have_run = False
    row.phase = row.phase if row.phase is Phase.RUNNING else Phase.READY
    _begin_again(row)


def _begin_again(row: Row) -> None:
    """What was sent before does not count any more, and neither do the tries."""
    row.epoch += 1
    row.attempt = row.dispatches = 0
    row.held_by = ""


def _leave_parking(row: Row, event: Event) -> None:
    _require(row.status is Status.NEEDS_ATTENTION, event, f"the saga is {row.status}, not parked")
    row.status, row.resume_status = Status(row.resume_status), ""
    row.epoch += 1
