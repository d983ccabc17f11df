"""What happens next: which facts follow from a result, an error, the time or an operator's command.

A `Machine` is a definition under one set of options. Its methods change a row in memory, which the caller has locked
and saves afterwards. They touch no database, no broker and no step function, and take the time from the row.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sagas.definition.options import Options
from sagas.definition.saga import Retry, Saga
from sagas.errors import Refusal
from sagas.machine.state import Event, Row
from sagas.machine.transitions import (
    LATE,
    STALE,
    call_may_have_run,
    compensation_at,
    record,
    step_name,
)
from sagas.statuses import Action, Phase, Status

LONGEST_ERROR = 2_000
LONGEST_REASON_CODE = 64
#: Why a saga is given up whose message was sent again and again without any result.
NO_PROGRESS = "saga.no_progress"
#: Sagas that were held together look again at different moments, up to this much later.
RECHECK_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Machine:
    """The decisions for the sagas of one definition."""

    saga: Saga
    options: Options

    # -- going forward ------------------------------------------------------------------------------------------
    def begin(self, row: Row) -> None:
        row.deadline_at = row.now + self.saga.deadline
        message = f"{self.saga.name} started"
        record(row, self.saga, Event(Action.STARTED, "", "STARTED", message, "saga.started"))
        self._stay_awake(row)

    def complete(self, row: Row, result: dict[str, Any] | None) -> None:
        """The step, or the compensation, at `position` is done. `result` is what a step returned, by name."""
        if row.is_going_back:
            self._complete_undo(row)
        else:
            self._complete_step(row, result)

    def _complete_step(self, row: Row, result: dict[str, Any] | None) -> None:
        name, attempt = step_name(row, self.saga), max(row.attempt, 1)
        if result:
            row.keep_result(name, result)
        event_type, payload = self.saga.event(name), dict(result) if result else None
        message = f"{words(name)} completed"
        event = Event(Action.STEP_COMPLETED, name, "COMPLETED", message, event_type, payload, attempt=attempt)
        record(row, self.saga, event)
        self._progressed(row)

    def _complete_undo(self, row: Row) -> None:
        name, attempt = step_name(row, self.saga), max(row.attempt, 1)
        event_type, message = self.saga.event(name), f"{words(name)} completed"
        payload = reason_of(row)
        event = Event(Action.UNDO_COMPLETED, name, "COMPENSATED", message, event_type, payload, attempt=attempt)
        record(row, self.saga, event)
        self._progressed(row)

    def _progressed(self, row: Row) -> None:
        """A step or a compensation is behind the saga: go on, or finish."""
        row.auto_retries = 0
        if row.status is Status.STARTED:
            row.error = ""
        if not self._finish_at_the_end(row):
            self._stay_awake(row)

    # -- errors -------------------------------------------------------------------------------------------------
    def fail(self, row: Row, error: Exception) -> None:
        """A try of the step, or the compensation, at `position` failed: retry it, go back, or park the saga."""
        attempt = row.attempt if self.saga.steps[row.position].is_remote else row.attempt + 1
        row.error = describe(error)
        retry = self._retry_policy(row)
        if not isinstance(error, Refusal) and attempt < retry.attempts:
            self._retry_later(row, attempt, retry)
        elif row.is_going_back:
            self._fail_undo(row, attempt, may_help=not isinstance(error, Refusal))
        else:
            self._fail_step(row, attempt, error)

    def _fail_step(self, row: Row, attempt: int, error: Exception) -> None:
        name, code, is_refused = step_name(row, self.saga), code_of(error), isinstance(error, Refusal)
        action, status = (Action.STEP_REFUSED if is_refused else Action.STEP_FAILED), "FAILED"
        event_type = self.saga.event(name, failed=True)
        payload = {"code": code, "error": row.error}
        record(row, self.saga, Event(action, name, status, row.error, event_type, payload, attempt=attempt))
        self._give_up(row, reason_code=code, may_help=not is_refused)

    def _fail_undo(self, row: Row, attempt: int, *, may_help: bool) -> None:
        is_best_effort = compensation_at(self.saga, row.position).is_best_effort
        name, event_type = step_name(row, self.saga), self.saga.event(step_name(row, self.saga), failed=True)
        event = Event(Action.UNDO_FAILED, name, "FAILED", row.error, event_type, reason_of(row), attempt=attempt)
        record(row, self.saga, event)
        if is_best_effort:
            self._progressed(row)
        else:
            self._park(row, may_help=may_help)

    def _retry_later(self, row: Row, attempt: int, retry: Retry) -> None:
        delay = retry.delay(attempt)
        action = Action.UNDO_RETRYING if row.is_going_back else Action.STEP_RETRYING
        message = f"{row.error} (try {attempt} of {retry.attempts}, again in {delay.total_seconds():.0f} s)"
        record(row, self.saga, Event(action, step_name(row, self.saga), "RETRYING", message, attempt=attempt))
        _wake_in(row, delay)

    def _retry_policy(self, row: Row) -> Retry:
        if row.is_going_back:
            return self.options.undo_retry
        return self.saga.steps[row.position].retry or self.options.retry

    def _give_up(self, row: Row, *, reason_code: str, may_help: bool) -> None:
        """The step at `position` will not succeed: back before the pivot, parked after it.

        A pivot whose outcome is unknown and that has no compensation is for a person to settle.
        """
        step = self.saga.steps[row.position]
        is_unknown_pivot = step.is_pivot and step.compensation is None and call_may_have_run(row, self.saga)
        if step.is_after_pivot or is_unknown_pivot:
            self._park(row, may_help=may_help)
        else:
            self._turn_back(row, Action.COMPENSATION_STARTED, reason_code=reason_code, reason=row.error)

    def _park(self, row: Row, *, may_help: bool) -> None:
        """The engine gives up for now: NEEDS_ATTENTION, listed as a dead letter.

        The saga is retried automatically a few times if that may help: not after a refusal, which stays one, and not
        where no worker ever came to a result, for what kills its workers would kill more.
        """
        delays = self.options.auto_retry_delays
        is_left = may_help and row.auto_retries < len(delays)
        row.retry_at = row.now + delays[row.auto_retries] if is_left else None
        row.error = row.error or "The engine gave up after its retries."
        payload, name = {"error": row.error}, step_name(row, self.saga)
        event = Event(Action.PARKED, name, "NEEDS_ATTENTION", row.error, "saga.needs_attention", payload)
        record(row, self.saga, event)
        row.wake_at = None

    # -- changing direction -------------------------------------------------------------------------------------
    def cancel(self, row: Row, *, reason_code: str, reason: str, actor: str) -> None:
        """Somebody or the clock asked for it: go back from where the saga stands, or go on going back as cancelled."""
        self._turn_back(row, Action.CANCELLATION_STARTED, reason_code=reason_code, reason=reason, actor=actor)

    def _turn_back(self, row: Row, action: Action, *, reason_code: str, reason: str, actor: str = "") -> None:
        row.reason_code, row.reason, row.actor = reason_code[:LONGEST_REASON_CODE], reason[:LONGEST_ERROR], actor
        row.retry_at = row.finished_at = row.held_since = None
        status = Status.CANCELLING if action is Action.CANCELLATION_STARTED else Status.COMPENSATING
        event_type = f"saga.{status.value.lower()}"
        event = Event(action, "", status.value, reason, event_type, reason_of(row), actor)
        record(row, self.saga, event)
        if self._finish_at_the_end(row, compensated=Status.FAILED):
            return
        if row.phase is Phase.RUNNING:
            row.wake_at = row.lease_until  # the call in flight answers, or its lease runs out
        else:
            _wake_in(row, self.options.stall)

    # -- an operator's commands ---------------------------------------------------------------------------------
    def resume(self, row: Row, *, reason: str, actor: str) -> None:
        """An operator sends a parked saga on, in the direction it had, with fresh retries, also the automatic ones."""
        row.auto_retries = 0
        self._send_on(row, Action.RETRIED, reason=reason, actor=actor)

    def auto_retry(self, row: Row) -> None:
        """No operator came, and it is time to try a parked saga again."""
        row.auto_retries += 1
        reason = f"Automatic retry {row.auto_retries} of {len(self.options.auto_retry_delays)}"
        self._send_on(row, Action.AUTO_RETRIED, reason=reason)

    def _send_on(self, row: Row, action: Action, *, reason: str, actor: str = "") -> None:
        row.retry_at = None
        if not row.is_going_back:
            row.deadline_at = None  # it is past the point of no return, so it has all the time there is
        name, payload = step_name(row, self.saga), {"reason": reason}
        record(row, self.saga, Event(action, name, row.resume_status, reason, "saga.retried", payload, actor))
        _wake_in(row, self.options.stall)

    def skip(self, row: Row, result: dict[str, Any] | None, *, reason: str, actor: str) -> None:
        """An operator settled the parked step or compensation by hand: go on after it, with what it returned.

        The event the step would have stated is not published: it did not happen here.
        """
        name, payload = step_name(row, self.saga), {"reason": reason}
        if result:
            row.keep_result(name, result)
        row.retry_at = None
        record(row, self.saga, Event(Action.SKIPPED, name, "SKIPPED", reason, "saga.step_skipped", payload, actor))
        self._progressed(row)

    def close(self, row: Row, *, reason: str, actor: str) -> None:
        """An operator ends a parked saga where it stands: what is left to do or to undo was settled by hand."""
        end = _ENDS[Status(row.resume_status)]
        row.retry_at = None
        event = Event(Action.CLOSED, "", end.value, reason, "saga.closed", {"reason": reason}, actor)
        record(row, self.saga, event)
        self._finish(row, end)

    # -- holds --------------------------------------------------------------------------------------------------
    def hold(self, row: Row) -> None:
        """The dependency of the call at `position` is on hold: wait before the call, for as long as it takes.

        No try is spent, and the deadline is put off by the time held when the hold ends.
        """
        self._hold(row, attempt=row.attempt)

    def fail_probe(self, row: Row, error: Exception) -> None:
        """The call that tried whether the dependency works again failed: back to waiting.

        However often a saga is the one to probe, that counts as one try, and so its undo runs if it goes back.
        """
        row.error = describe(error)
        self._hold(row, attempt=max(row.attempt - 1, 1))

    def _hold(self, row: Row, *, attempt: int) -> None:
        name, dependency = step_name(row, self.saga), self.saga.steps[row.position].uses
        message = f"{words(name)} waits until {dependency} is no longer on hold"
        record(row, self.saga, Event(Action.HELD, name, "HELD", message, attempt=attempt))
        row.held_since = row.now
        self.stay_suspended(row)

    def stay_suspended(self, row: Row) -> None:
        """Only says when to look again. A hold, for example, ends when its dependency is released."""
        jitter = random.uniform(0, RECHECK_JITTER)  # noqa: S311 - spreads load; no secret depends on it
        row.wake_at = row.now + self.options.hold_recheck * (1 + jitter)

    def resume_held(self, row: Row, message: str) -> None:
        """The saga need not wait any longer; its deadline did not run meanwhile."""
        if row.deadline_at is not None and row.held_since is not None:
            row.deadline_at += row.now - row.held_since
        record(row, self.saga, Event(Action.HOLD_ENDED, "", "RELEASED", message))
        row.held_since = None
        _wake_in(row, self.options.stall)

    # -- calls --------------------------------------------------------------------------------------------------
    def claim(self, row: Row) -> int:
        """Count this try and lease the call. Returns the lease's token, which its record must still find in the row.

        The token is the number of the claim in the saga's history, so no two claims of a saga share one.
        """
        step, name = self.saga.steps[row.position], step_name(row, self.saga)
        action = Action.UNDO_CLAIMED if row.is_going_back else Action.STEP_CLAIMED
        event = Event(action, name, "STARTED", f"{words(name)} started", attempt=row.attempt + 1)
        record(row, self.saga, event)
        row.lease_token = row.seq + len(row.pending_events)
        row.wake_at = row.lease_until = row.now + step.timeout + self.options.lease_grace
        return row.lease_token

    def keep_late_answer(self, row: Row, claimed: Row, answer: dict[str, Any] | None, token: int) -> bool:
        """A call answered after its saga had moved on: keep what it said as a fact, and end its lease if it has one.

        Returns whether it had, and then the saga can be sent on at once.
        """
        was_leased = row.lease_token == token
        action = Action.UNDO_FENCED if claimed.is_going_back else Action.STEP_FENCED
        name, status = step_name(claimed, self.saga), LATE if was_leased else STALE
        message = "The answer came after the saga had moved on"
        record(row, self.saga, Event(action, name, status, message, payload=answer))
        if was_leased:
            _wake_in(row, self.options.stall)
        return was_leased

    # -- standing still -----------------------------------------------------------------------------------------
    def redispatch(self, row: Row, cause: str) -> bool:
        """Decide, from recorded facts only, what a saga that stands still does next. Returns whether to send it on.

        A claim without a record timed out: its outcome is unknown. A saga past its deadline goes back. One whose
        message was sent `max_dispatches` times without any recorded progress is given up. Any other is sent again. The
        epoch stays: a message that only waits in a long queue must still count when its turn comes.
        """
        epoch = row.epoch
        if row.has_own_call:
            self._time_out(row)
        if row.is_open and row.epoch == epoch and self.is_past_deadline(row):
            self.miss_deadline(row)
        elif row.is_open and row.epoch == epoch and row.dispatches >= self.options.max_dispatches:
            row.error = row.error or f"No progress after the message was sent {row.dispatches} times."
            self._stand_still(row)
        if row.is_open and row.epoch == epoch:
            self._send_again(row, cause)
        return row.is_open

    def _send_again(self, row: Row, cause: str) -> None:
        event = Event(Action.REDISPATCHED, step_name(row, self.saga), row.status.value, cause)
        record(row, self.saga, event)
        _wake_in(row, min(self.options.stall * 1.5**row.dispatches, self.options.longest_stall))

    def _time_out(self, row: Row) -> None:
        name, attempt = step_name(row, self.saga), row.attempt
        row.error = f"No answer from {name} (try {attempt}); its outcome is unknown."
        action = Action.UNDO_TIMED_OUT if row.is_going_back else Action.STEP_TIMED_OUT
        record(row, self.saga, Event(action, name, "UNKNOWN", row.error, attempt=attempt))
        if attempt >= self._retry_policy(row).attempts:
            self._stand_still(row, reason_code="step.timed_out")

    def _stand_still(self, row: Row, reason_code: str = NO_PROGRESS) -> None:
        may_help = reason_code != NO_PROGRESS
        if not row.is_going_back:
            self._give_up(row, reason_code=reason_code, may_help=may_help)
        elif compensation_at(self.saga, row.position).is_best_effort:
            self._fail_undo(row, row.attempt, may_help=may_help)
        else:
            self._park(row, may_help=may_help)

    def is_past_deadline(self, row: Row) -> bool:
        """The deadline counts until the pivot is done, and only while going forward."""
        pivot = self.saga.pivot_position
        is_before = pivot is None or row.position <= pivot
        return row.status is Status.STARTED and is_before and row.deadline_at is not None and row.now >= row.deadline_at

    def miss_deadline(self, row: Row) -> None:
        where = words(step_name(row, self.saga)).lower()
        row.error = f"{self.saga.name} did not get past {where} in {self.saga.deadline}."
        self._give_up(row, reason_code="saga.deadline_exceeded", may_help=True)

    # -- the end ------------------------------------------------------------------------------------------------
    def _finish_at_the_end(self, row: Row, *, compensated: Status = Status.COMPENSATED) -> bool:
        """Finish a saga that is past either end. `compensated` is FAILED where nothing had to be undone."""
        if not row.is_going_back and row.position == len(self.saga.steps):
            self._finish(row, Status.COMPLETED)
        elif row.is_going_back and row.position < 0:
            self._finish(row, Status.CANCELLED if row.status is Status.CANCELLING else compensated)
        return not row.is_open

    def _finish(self, row: Row, status: Status) -> None:
        event_type, payload = f"saga.{status.value.lower()}", reason_of(row) if row.reason_code else None
        message = f"Saga {status.label.lower()}"
        record(row, self.saga, Event(Action.FINISHED, "", status.value, message, event_type, payload))
        row.wake_at, row.finished_at = None, row.now

    def _stay_awake(self, row: Row) -> None:
        """Move `wake_at` only when it is near: most steps then change no indexed column, so their updates are HOT."""
        if row.wake_at is None or row.wake_at < row.now + self.options.stall / 2:
            _wake_in(row, self.options.stall)


_ENDS = {
    Status.STARTED: Status.COMPLETED,
    Status.COMPENSATING: Status.COMPENSATED,
    Status.CANCELLING: Status.CANCELLED,
}


def _wake_in(row: Row, delay: timedelta) -> None:
    """Be looked at by the sweep after `delay`, and at the deadline at the latest."""
    row.wake_at = row.now + delay
    if row.status is Status.STARTED and row.deadline_at is not None and row.deadline_at > row.now:
        row.wake_at = min(row.wake_at, row.deadline_at)


# -- words ----------------------------------------------------------------------------------------------------------
def reason_of(row: Row) -> dict[str, Any]:
    return {"reason_code": row.reason_code, "reason": row.reason}


def describe(error: Exception) -> str:
    """The sentence kept in the row and shown to people: refusals speak for themselves, faults name their kind."""
    text = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
    return text.replace("\x00", "")[:LONGEST_ERROR]


def code_of(error: Exception) -> str:
    return str(getattr(error, "code", None) or "step.failed")


def words(name: str) -> str:
    return name.replace("_", " ").capitalize()
