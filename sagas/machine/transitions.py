"""The state machine: every way a saga's row may change, as functions on the row in memory.

Nothing here touches the database, the broker or a step function, so the same code runs in production, in the model
checker and in the simulator. The caller holds the row's lock and saves it afterwards.
"""

from __future__ import annotations

import random
import secrets
from datetime import timedelta
from typing import Any

from sagas.conf import options
from sagas.definition.saga import Compensation, Retry, Saga
from sagas.errors import Refusal
from sagas.machine.state import Event, Row
from sagas.models import Action, Status

LONGEST_ERROR = 2_000
#: Why a saga is given up that was driven again and again without any result.
NO_PROGRESS = "saga.no_progress"
#: In a saga's data: the position of a call that was tried before an operator sent the parked saga on.
TRIED_BEFORE_PARKING = "tried_before_parking"


# -- going forward --------------------------------------------------------------------------------------------------
def begin(row: Row, saga: Saga) -> None:
    row.deadline_at = row.now + saga.deadline
    row.note(Event(Action.STARTED, status="STARTED", message=f"{saga.name} started", type="saga.started"))
    _stay_awake(row)


def complete_step(row: Row, saga: Saga, result: dict[str, Any] | None) -> None:
    """The step at `position` is done: remember what it returned and move on, or finish."""
    step = saga.steps[row.position]
    if result:
        row.results[step.name] = result
    row.note(
        Event(
            Action.STEP_COMPLETED,
            step.name,
            "COMPLETED",
            f"{_words(step.name)} completed",
            saga.event(step.name) or "",
            dict(result) if result else None,
            attempt=max(row.attempt, 1),
        )
    )
    _advance(row, saga)


def complete_undo(row: Row, saga: Saga) -> None:
    """The step at `position` is undone: go on to the one before it, or finish."""
    compensation = _compensation(saga, row.position)
    row.note(
        Event(
            Action.UNDO_COMPLETED,
            compensation.name,
            "COMPENSATED",
            f"{_words(compensation.name)} completed",
            saga.event(compensation.name) or "",
            reason_of(row),
            attempt=max(row.attempt, 1),
        )
    )
    _undo_next(row, saga)


# -- trouble --------------------------------------------------------------------------------------------------------
def fail_step(row: Row, saga: Saga, trouble: Exception) -> None:
    """A try of the step at `position` failed; `attempt` counts it already. Retry it, go back, or park the saga."""
    step = saga.steps[row.position]
    retry = step.retry or options().retry
    row.error = describe(trouble)
    if not isinstance(trouble, Refusal) and row.attempt < retry.attempts:
        _retry_later(row, Action.STEP_RETRYING, step.name, retry)
        return
    event_type = saga.event(step.name, failed=True) or ""
    row.note(
        Event(
            Action.STEP_FAILED,
            step.name,
            "FAILED",
            row.error,
            event_type,
            {"code": code_of(trouble), "error": row.error},
            attempt=row.attempt,
        )
    )
    give_up(row, saga, reason_code=code_of(trouble), is_refused=isinstance(trouble, Refusal))


def fail_undo(row: Row, saga: Saga, trouble: Exception) -> None:
    """A try of the compensation at `position` failed; retry it, or park the saga, or let a best effort go."""
    compensation = _compensation(saga, row.position)
    row.error = describe(trouble)
    if not isinstance(trouble, Refusal) and row.attempt < options().undo_retry.attempts:
        _retry_later(row, Action.UNDO_RETRYING, compensation.name, options().undo_retry)
        return
    row.note(
        Event(
            Action.UNDO_FAILED,
            compensation.name,
            "FAILED",
            row.error,
            saga.event(compensation.name, failed=True) or "",
            reason_of(row),
            attempt=row.attempt,
        )
    )
    if compensation.is_best_effort:
        _undo_next(row, saga)
    else:
        park(row, saga, may_help=not isinstance(trouble, Refusal))


def give_up(row: Row, saga: Saga, *, reason_code: str, is_refused: bool = False) -> None:
    """The step at `position` will not succeed: back before the pivot, parked after it.

    A refusal of the very first try is certain: that step left nothing to undo. Any other claimed call may have had
    its effect. A pivot whose outcome is unknown and that names no compensation is a person's to settle.
    """
    step = saga.steps[row.position]
    is_first_try = row.attempt == 1 and not _was_tried_before_parking(row)
    may_have_run = _may_have_run(row, saga) and not (is_refused and is_first_try)
    if step.is_after_pivot or (step.is_pivot and may_have_run and step.compensation is None):
        park(row, saga, may_help=not is_refused and reason_code != NO_PROGRESS)
    else:
        start = row.position if may_have_run else row.position - 1
        turn_back(row, saga, Status.COMPENSATING, start=start, reason_code=reason_code, reason=row.error)


def park(row: Row, saga: Saga, *, may_help: bool) -> None:
    """The engine gives up for now: NEEDS_ATTENTION, listed as a dead letter.

    Trying again later is done by itself a few times if it may help: not after a refusal, which stays one, and not
    where nobody ever came to a result, for what kills its workers would kill more.
    """
    delays = options().auto_retry_delays
    is_left = may_help and row.auto_retries < len(delays)
    row.retry_at = row.now + delays[row.auto_retries] if is_left else None
    row.resume_status = row.status.value
    row.status = Status.NEEDS_ATTENTION
    row.wake_at = None
    row.drives = 0
    release(row)
    row.error = row.error or "The engine gave up after its retries."
    row.note(
        Event(
            Action.PARKED,
            step_name(row, saga),
            "NEEDS_ATTENTION",
            row.error,
            "saga.needs_attention",
            {"error": row.error},
        )
    )


# -- turning round --------------------------------------------------------------------------------------------------
def turn_back(
    row: Row, saga: Saga, status: Status, *, start: int, reason_code: str, reason: str, actor: str = ""
) -> None:
    """Start undoing, in strict reverse order from position `start`, every step that completed or may have."""
    was_leased = row.is_leased
    row.status, row.resume_status, row.finished_at = status, "", None
    row.reason_code, row.reason = reason_code[:64], reason[:LONGEST_ERROR]
    row.epoch += 1
    row.attempt = row.drives = 0
    row.retry_at = None
    _forget_hold(row)
    cancelling = status is Status.CANCELLING
    row.position = _last_to_undo(saga, start)
    row.note(
        Event(
            Action.CANCELLATION_STARTED if cancelling else Action.COMPENSATION_STARTED,
            status=status.value,
            message=reason,
            type=f"saga.{status.value.lower()}",
            payload=reason_of(row),
            actor=actor,
        )
    )
    if row.position < 0:
        _finish(row, Status.CANCELLED if cancelling else Status.FAILED)
    elif was_leased and row.lease_until is not None:
        row.wake_at = row.lease_until  # a call is in flight: wait for its answer or for its lease to run out
    else:
        release(row)
        _sleep(row, options().stall)


def cancel(row: Row, saga: Saga, *, reason_code: str, reason: str, actor: str) -> None:
    """Somebody or the clock asked for it: go back from wherever the saga stands."""
    if row.status is Status.COMPENSATING:
        _switch_to_cancelling(row, reason_code=reason_code, reason=reason, actor=actor)
        return
    start = row.position if _may_have_run(row, saga) else row.position - 1
    turn_back(row, saga, Status.CANCELLING, start=start, reason_code=reason_code, reason=reason, actor=actor)


def _switch_to_cancelling(row: Row, *, reason_code: str, reason: str, actor: str) -> None:
    """A saga that goes back after a failure goes on going back, now because somebody asked."""
    row.status = Status.CANCELLING
    row.reason_code, row.reason = reason_code[:64], reason[:LONGEST_ERROR]
    row.epoch += 1
    row.attempt = row.drives = 0
    _forget_hold(row)
    row.note(
        Event(
            Action.CANCELLATION_STARTED,
            status="CANCELLING",
            message=reason,
            type="saga.cancelling",
            payload=reason_of(row),
            actor=actor,
        )
    )
    row.wake_at = row.lease_until if row.is_leased else row.now + options().stall


def resume(row: Row, saga: Saga, *, reason: str, actor: str) -> None:
    """An operator sends a parked saga on, in the direction it had, with fresh retries, also of those by itself."""
    row.auto_retries = 0
    _send_on(row, saga, Action.RETRIED, reason=reason, actor=actor)


def auto_retry(row: Row, saga: Saga) -> None:
    """Nobody came, and it is time to try a parked saga again."""
    row.auto_retries += 1
    reason = f"Automatic retry {row.auto_retries} of {len(options().auto_retry_delays)}"
    _send_on(row, saga, Action.AUTO_RETRIED, reason=reason, actor="")


def _send_on(row: Row, saga: Saga, action: Action, *, reason: str, actor: str) -> None:
    """Out of NEEDS_ATTENTION, in the direction the saga had.

    Counting from nought must not make anybody forget that the call it was parked at may have had its effect.
    """
    row.status, row.resume_status, row.retry_at = Status(row.resume_status), "", None
    if not row.is_going_back and _may_have_run(row, saga):
        row.data[TRIED_BEFORE_PARKING] = row.position
    row.epoch += 1
    row.attempt = row.drives = 0
    row.note(
        Event(
            action,
            step_name(row, saga),
            row.status.value,
            reason,
            "saga.retried",
            {"reason": reason},
            actor=actor,
        )
    )
    _sleep(row, options().stall)


def skip(row: Row, saga: Saga, result: dict[str, Any] | None, *, reason: str, actor: str) -> None:
    """An operator settled the step or compensation of a parked saga by hand: go on behind it, with what it returned.

    The fact the step would have stated is not stated: it did not happen here.
    """
    name = step_name(row, saga)
    row.status, row.resume_status, row.retry_at = Status(row.resume_status), "", None
    row.epoch += 1
    row.note(Event(Action.SKIPPED, name, "SKIPPED", reason, "saga.step_skipped", {"reason": reason}, actor=actor))
    if row.is_going_back:
        _undo_next(row, saga)
    else:
        if result:
            row.results[name] = result
        _advance(row, saga)


def close(row: Row, *, reason: str, actor: str) -> None:
    """An operator ends a parked saga where it stands: what is left to do or to undo was settled by hand."""
    ends = {Status.STARTED: Status.COMPLETED, Status.COMPENSATING: Status.COMPENSATED}
    end = ends.get(Status(row.resume_status), Status.CANCELLED)
    row.status, row.resume_status, row.retry_at = Status(row.resume_status), "", None
    row.epoch += 1
    row.note(Event(Action.CLOSED, status=end.value, message=reason, type="saga.closed", payload={"reason": reason},
                   actor=actor))  # fmt: skip
    _finish(row, end)


# -- holds ----------------------------------------------------------------------------------------------------------
def hold(row: Row, saga: Saga) -> None:
    """What the call at `position` uses is on hold: wait before it, for as long as it takes.

    No try is spent, and the deadline is put off by the time held when the saga is let go. The epoch rises: no message
    sent before acts any more.
    """
    step = saga.steps[row.position]
    release(row)
    row.held_by, row.held_since = step.uses, row.now
    row.epoch += 1
    row.drives = 0
    message = f"{_words(step_name(row, saga))} waits until {step.uses} is no longer on hold"
    row.note(Event(Action.HELD, step_name(row, saga), "HELD", message, attempt=row.attempt))
    stay_held(row)


def fail_probe(row: Row, saga: Saga, trouble: Exception) -> None:
    """The call that tried whether the dependency works again failed: back to waiting.

    However often a saga is the one to try, it has been tried once, and so its undo runs if it goes back.
    """
    row.error = describe(trouble)
    row.attempt = max(row.attempt - 1, 1)
    hold(row, saga)


def stay_held(row: Row) -> None:
    """Only says when to look again: the hold itself ends when the dependency is released."""
    row.wake_at = row.now + options().hold_recheck * (1 + random.uniform(0, 0.2))  # noqa: S311 - spreading load


def let_go(row: Row, message: str) -> None:
    """The saga need not wait any longer; the deadline did not run meanwhile."""
    if row.deadline_at is not None and row.held_since is not None:
        row.deadline_at += row.now - row.held_since
    row.note(Event(Action.LET_GO, "", "RELEASED", message))
    _forget_hold(row)
    _sleep(row, options().stall)


def _forget_hold(row: Row) -> None:
    row.held_by, row.held_since = "", None


# -- claims ---------------------------------------------------------------------------------------------------------
def claim(row: Row, saga: Saga) -> int:
    """Count this try and lease the call; the token returned must still be the row's when its result is recorded."""
    step = saga.steps[row.position]
    token = secrets.randbits(62)
    row.attempt += 1
    row.lease_token = token
    row.lease_until = row.now + step.timeout + options().lease_grace
    row.wake_at = row.lease_until
    action = Action.UNDO_CLAIMED if row.is_going_back else Action.STEP_CLAIMED
    row.note(
        Event(action, step_name(row, saga), "STARTED", f"{_words(step_name(row, saga))} started", attempt=row.attempt)
    )
    return token


def keep_fenced(row: Row, name: str, result: dict[str, Any] | None, token: int, *, is_undo: bool) -> bool:
    """A call came back after its saga moved on: keep what it said as a fact, move nothing, free its own lease.

    Returns whether the lease was this call's, in which case the saga can be driven on at once.
    """
    held = row.lease_token == token
    action = Action.UNDO_FENCED if is_undo else Action.STEP_FENCED
    row.note(Event(action, name, "FENCED", "The answer came after the saga had moved on", payload=result))
    if held:
        release(row)
        if row.is_open:
            _sleep(row, options().stall)
    return held


def redrive(row: Row, saga: Saga, cause: str) -> bool:
    """Decide, from recorded facts only, what a saga that stands still does next. True: drive it from where it is.

    A claim without a record timed out: its outcome is unknown. A saga past its deadline goes back. One that was
    driven `max_drives` times without any recorded progress is given up. Anything else is driven on. The epoch stays:
    a message that only waits in a long queue must still count when its turn comes, or a backlog would feed itself.
    """
    epoch = row.epoch
    if row.lease_token is not None:
        _time_out(row, saga)
    if row.is_open and row.epoch == epoch and is_past_deadline(row, saga):
        miss_deadline(row, saga)
    elif row.is_open and row.epoch == epoch and row.drives >= options().max_drives:
        _stand_still(row, saga)
    if row.is_open and row.epoch == epoch:
        row.drives += 1
        row.note(Event(Action.REDRIVEN, step_name(row, saga), row.status.value, cause))
        _sleep(row, min(options().stall * 1.5**row.drives, options().longest_stall))
    return row.is_open


def is_past_deadline(row: Row, saga: Saga) -> bool:
    """The deadline counts until the pivot is done, and only while going forward.

    An operator who sends on a pivot of unknown outcome has all the time there is: it can't go back any more.
    """
    pivot = saga.pivot_position
    is_before = (pivot is None or row.position <= pivot) and not _was_tried_before_parking(row)
    return row.status is Status.STARTED and is_before and row.deadline_at is not None and row.now >= row.deadline_at


def miss_deadline(row: Row, saga: Saga) -> None:
    row.error = f"{saga.name} did not get past {_words(step_name(row, saga)).lower()} in {saga.deadline}."
    give_up(row, saga, reason_code="saga.deadline_exceeded")


# -- small parts ----------------------------------------------------------------------------------------------------
def step_name(row: Row, saga: Saga) -> str:
    """The step or compensation the saga stands at; empty when it is past either end."""
    if not 0 <= row.position < len(saga.steps):
        return ""
    going_back = row.is_going_back or row.resume_status in (Status.COMPENSATING, Status.CANCELLING)
    return _compensation(saga, row.position).name if going_back else saga.steps[row.position].name


def reason_of(row: Row) -> dict[str, Any]:
    return {"reason_code": row.reason_code, "reason": row.reason}


def describe(trouble: Exception) -> str:
    """The sentence kept in the row and shown to people: refusals speak for themselves, faults name their kind."""
    text = str(trouble) if isinstance(trouble, Refusal) else f"{type(trouble).__name__}: {trouble}"
    return text.replace("\x00", "")[:LONGEST_ERROR]


def code_of(trouble: Exception) -> str:
    return str(getattr(trouble, "code", None) or "step.failed")


def _compensation(saga: Saga, position: int) -> Compensation:
    compensation = saga.steps[position].compensation
    if compensation is None:
        raise LookupError(f"{saga.name} step {position} has no compensation")
    return compensation


def _may_have_run(row: Row, saga: Saga) -> bool:
    """Whether the step at `position` was claimed and so may have had its effect.

    A local step that did not complete left nothing behind; a claimed call may have.
    """
    if row.position >= len(saga.steps) or not saga.steps[row.position].is_remote:
        return False
    return row.attempt > 0 or _was_tried_before_parking(row)


def _was_tried_before_parking(row: Row) -> bool:
    return row.data.get(TRIED_BEFORE_PARKING) == row.position


def _last_to_undo(saga: Saga, start: int) -> int:
    """The last position at or before `start` that has a compensation; -1 if none has."""
    return next((position for position in range(start, -1, -1) if saga.steps[position].compensation), -1)


def _advance(row: Row, saga: Saga) -> None:
    row.position += 1
    _settle(row)
    if row.position == len(saga.steps):
        _finish(row, Status.COMPLETED)
    else:
        _stay_awake(row)


def _undo_next(row: Row, saga: Saga) -> None:
    row.position = _last_to_undo(saga, row.position - 1)
    _settle(row)
    if row.position < 0:
        _finish(row, Status.CANCELLED if row.status is Status.CANCELLING else Status.COMPENSATED)
    else:
        _stay_awake(row)


def _retry_later(row: Row, action: Action, name: str, retry: Retry) -> None:
    release(row)
    row.epoch += 1  # no message of the failed try acts any more; the sweep starts the next one
    row.drives = 0
    delay = retry.delay(row.attempt)
    message = f"{row.error} (try {row.attempt} of {retry.attempts}, again in {delay.total_seconds():.0f} s)"
    row.note(Event(action, name, "RETRYING", message, attempt=row.attempt))
    _sleep(row, delay)


def _time_out(row: Row, saga: Saga) -> None:
    name = step_name(row, saga)
    row.error = f"No answer from {name} (try {row.attempt}); its outcome is unknown."
    release(row)
    action = Action.UNDO_TIMED_OUT if row.is_going_back else Action.STEP_TIMED_OUT
    row.note(Event(action, name, "UNKNOWN", row.error, attempt=row.attempt))
    step = saga.steps[row.position]
    retry = options().undo_retry if row.is_going_back else step.retry or options().retry
    if row.attempt >= retry.attempts:
        _stand_still(row, saga, reason_code="step.timed_out")


def _stand_still(row: Row, saga: Saga, reason_code: str = NO_PROGRESS) -> None:
    row.error = row.error or f"No progress after {row.drives} re-drives."
    if not row.is_going_back:
        give_up(row, saga, reason_code=reason_code)
    elif _compensation(saga, row.position).is_best_effort:
        _undo_next(row, saga)
    else:
        park(row, saga, may_help=reason_code != NO_PROGRESS)


def _finish(row: Row, status: Status) -> None:
    row.status = status
    row.wake_at = None
    row.finished_at = row.now
    release(row)
    row.note(
        Event(
            Action.FINISHED,
            status=status.value,
            message=f"Saga {status.label.lower()}",
            type=f"saga.{status.value.lower()}",
            payload=reason_of(row) if row.reason_code else None,
        )
    )


def _settle(row: Row) -> None:
    """Progress: counters start again."""
    row.attempt = row.drives = row.auto_retries = 0
    row.error = "" if row.status is Status.STARTED else row.error
    release(row)


def release(row: Row) -> None:
    """The call that held the lease has answered, or never will."""
    row.lease_token = row.lease_until = None


def _sleep(row: Row, delay: timedelta) -> None:
    """Be looked at by the sweep after `delay`, and at the deadline at the latest."""
    row.wake_at = row.now + delay
    if row.status is Status.STARTED and row.deadline_at is not None and row.deadline_at > row.now:
        row.wake_at = min(row.wake_at, row.deadline_at)


def _stay_awake(row: Row) -> None:
    """Move `wake_at` only when it draws near: most steps then change no indexed column, which PostgreSQL rewards."""
    if row.wake_at is None or row.wake_at < row.now + options().stall / 2:
        _sleep(row, options().stall)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
