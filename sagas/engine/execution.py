"""Runs what a message points at: claim, effect, record.

For every line the question is what happens when the process dies there. Before a commit nothing has happened; after it
the row says what to do next, and `wake_at` brings the sweep. A call's claim without a record is "outcome unknown".
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable
from typing import Any

from sagas.conf import options
from sagas.definition import registry
from sagas.definition.saga import Saga, StepFunction, result_types
from sagas.engine.dispatch import StepMessage, dispatch, next_message, next_task
from sagas.engine.logs import fields, label, outlook
from sagas.errors import Problem, Refusal
from sagas.failpoints import Failpoint, reach
from sagas.holds import holds
from sagas.machine import transitions, wiring
from sagas.machine.decisions import Machine, describe
from sagas.machine.state import Row
from sagas.statuses import Phase, Status
from sagas.storage import storage

logger = logging.getLogger("sagas")

#: How much of a task's time the next local step may need to be run inline.
LOCAL_STEP_SECONDS = 1.0


class Stale(Exception):
    """The message no longer matches its saga: it was done, overtaken or is being done. It must do nothing."""


class StepFailed(Exception):
    """A step failed for good and that is recorded; raised so that Celery calls `link_error`."""


class Outcome(enum.Enum):
    MOVED = "moved"  # done; there may be more to do at once
    WAITING = "waiting"  # to be retried later, or held; the sweep goes on
    FAILED = "failed"  # failed for good: going back, parked or finished


def machine_of(row: Row) -> Machine:
    """The decisions for this saga. Raises `UnknownDefinition`."""
    return Machine(registry.get(row.name, row.version), options())


# -- a message ------------------------------------------------------------------------------------------------------
def process_message(message: StepMessage, *, may_run: Callable[[str], bool], is_redelivered: bool = False) -> Row:
    """Run the step of the message, then the next ones inline for as long as this worker may run them.

    `may_run` says whether this worker consumes the queue of a task. Returns the row as last committed. Raises `Stale`
    if the message had nothing to do or the saga was taken over on the way, and `StepFailed` after a final failure was
    recorded.
    """
    reach(Failpoint.MESSAGE_RECEIVED)
    started_at = time.monotonic()
    row, outcome = run_step(message, is_redelivered=is_redelivered)
    while outcome is Outcome.MOVED and row.is_open and _may_run_inline(row, started_at, may_run):
        row, outcome = run_next(row)
    if row.phase is Phase.DONE:
        log_extra = fields(row, "saga_finished", status=row.status.value)
        logger.info("Saga finished: %s is %s", label(row), row.status.value, extra=log_extra)
    if outcome is Outcome.FAILED:
        raise StepFailed(f"{outlook(row)}: {row.error or row.reason}")
    return row


def _may_run_inline(row: Row, started_at: float, may_run: Callable[[str], bool]) -> bool:
    if not options().run_inline:
        return False
    saga = registry.get(row.name, row.version)
    step = saga.steps[row.position]
    needed = step.timeout.total_seconds() if step.is_remote else LOCAL_STEP_SECONDS
    if time.monotonic() - started_at + needed > options().inline_budget.total_seconds():
        return False
    name = next_task(row, saga)
    return name is not None and may_run(name)


def run_next(row: Row) -> tuple[Row, Outcome]:
    """The next step of a saga this worker has just moved, and so knows.

    A local step that returns nothing is recorded before it runs: one statement locks, checks and moves the row. If the
    step raises, the record goes with its transaction.
    """
    message, machine = next_message(row), machine_of(row)
    function = _function(row, machine.saga)
    row.now = storage().recent_now()
    if machine.saga.steps[row.position].is_remote or result_types(function) or machine.is_past_deadline(row):
        return run_step(message, is_redelivered=False)
    try:
        with storage().atomic():
            _move_then_run(row, machine, function, message)
    except _EffectFailed as failure:
        return _record_failure(failure)
    reach(Failpoint.STEP_COMMITTED)
    return row, Outcome.MOVED


def _move_then_run(row: Row, machine: Machine, function: StepFunction, message: StepMessage) -> None:
    given = wiring.arguments(row, machine.saga, function)
    machine.complete(row, None)
    if not storage().move(row, epoch=message.epoch, position=message.position):
        raise Stale(f"{message}: the saga moved on")
    reach(Failpoint.STEP_MOVED)
    try:
        function(**given)
        reach(Failpoint.STEP_DONE)
    except Exception as error:
        raise _EffectFailed(message, machine, error) from error


def run_step(message: StepMessage, *, is_redelivered: bool) -> tuple[Row, Outcome]:
    """One step: a local one in a single transaction, a call in two with the call between them."""
    try:
        with storage().atomic():
            row, machine = _match(message, is_redelivered=is_redelivered)
            reach(Failpoint.STEP_MATCHED)
            is_remote = machine.saga.steps[row.position].is_remote
            stopped = _stop_before(row, machine)
            if stopped is not None:
                storage().save(row)
            elif is_remote:
                function = _function(row, machine.saga)
                token = machine.claim(row)
                storage().save(row)
            else:
                _run_local(row, machine)
    except _EffectFailed as failure:
        return _record_failure(failure)
    if stopped is not None:
        reach(Failpoint.STOP_COMMITTED)
        return row, stopped
    if is_remote:
        reach(Failpoint.CLAIM_COMMITTED)
        return _call(row, machine, function, token)
    reach(Failpoint.STEP_COMMITTED)
    return row, Outcome.MOVED


def _match(message: StepMessage, *, is_redelivered: bool) -> tuple[Row, Machine]:
    """Lock the saga and check that the message still means it. Raises `Stale`.

    A message that is one step behind stands for the step that is due: its own is done, but the message that should have
    followed may be lost. One that the broker delivered again, because its worker vanished, may be any number of steps
    behind, for that worker may have run steps inline, and takes over the call it may have died in.
    """
    row = storage().lock(message.saga_id)
    if row is None or not row.is_open or row.epoch != message.epoch:
        raise Stale(f"{message}: {'gone' if row is None else f'{row.status} epoch {row.epoch}'}")
    if row.is_leased and not is_redelivered:
        raise Stale(f"{message}: being executed")
    if row.held_by:
        raise Stale(f"{message}: waits for {row.held_by}")
    passed = message.position - row.position if row.is_going_back else row.position - message.position
    if passed < 0 or (passed > 1 and not is_redelivered):
        raise Stale(f"{message}: the saga stands at {row.position}")
    saga = registry.find(row.name, row.version)
    if saga is None:
        raise Stale(f"{message}: left for a worker that knows {row.name} v{row.version}")
    return row, Machine(saga, options())


def _stop_before(row: Row, machine: Machine) -> Outcome | None:
    """Whether the step must not begin: the time is up, or the dependency it needs is on hold."""
    if machine.is_past_deadline(row):
        machine.miss_deadline(row)
        return Outcome.FAILED
    if holds.blocks(machine.saga.steps[row.position].uses, row.id):
        machine.hold(row)
        return Outcome.WAITING
    return None


# -- local steps ----------------------------------------------------------------------------------------------------
class _EffectFailed(Exception):
    """Carries a local step's exception out of the transaction that it made void."""

    def __init__(self, message: StepMessage, machine: Machine, error: Exception) -> None:
        super().__init__(str(error))
        self.message, self.machine, self.error = message, machine, error


def _run_local(row: Row, machine: Machine) -> None:
    """The effect and the record of it, in the transaction the caller holds."""
    message, function = next_message(row), _function(row, machine.saga)
    try:
        result = function(**wiring.arguments(row, machine.saga, function))
        machine.complete(row, result)
        storage().save(row)
        reach(Failpoint.STEP_DONE)
    except Exception as error:
        raise _EffectFailed(message, machine, error) from error


def _record_failure(failure: _EffectFailed) -> tuple[Row, Outcome]:
    """A local step failed and its transaction is gone; commit that fact before Celery hears of it."""
    saga_id, position, epoch = failure.message
    with storage().atomic():
        row = storage().lock(saga_id)
        if row is None or row.epoch != epoch or row.position != position:
            raise Stale(f"{failure.message} moved on")
        step = transitions.step_name(row, failure.machine.saga)
        outcome = _fail(row, failure.machine, failure.error)
        storage().save(row)
        reach(Failpoint.FAILURE_RECORDING)
    reach(Failpoint.FAILURE_COMMITTED)
    _log(row, step, outcome, failure.error)
    return row, outcome


# -- calls ----------------------------------------------------------------------------------------------------------
def _call(row: Row, machine: Machine, function: StepFunction, token: int) -> tuple[Row, Outcome]:
    """The remote call, with no transaction open, and then its record if the claim still holds."""
    result: dict[str, Any] | None = None
    failure: Exception | None = None
    try:
        result = function(**wiring.arguments(row, machine.saga, function))
    except Exception as error:  # noqa: BLE001 - a refusal is an answer; anything else means "outcome unknown"
        failure = error
    reach(Failpoint.CALL_RETURNED)
    return record_call(row, machine, result, failure, token)


def record_call(
    claimed: Row, machine: Machine, result: dict[str, Any] | None, failure: Exception | None, token: int
) -> tuple[Row, Outcome]:
    """Record what a call answered. Raises `Stale` if the saga moved on meanwhile; the answer is kept as a fact then."""
    with storage().atomic():
        row = storage().lock(claimed.id)
        if row is None:
            raise Stale(f"{claimed.id} is gone")
        is_ours = row.epoch == claimed.epoch and row.lease_token == token
        outcome = _record(row, machine, result, failure) if is_ours else None
        answer = result if failure is None else {"error": describe(failure)}
        may_go_on = outcome is None and machine.keep_late_answer(row, claimed, answer, token)
        storage().save(row)
        reach(Failpoint.CALL_RECORDING)
    reach(Failpoint.CALL_COMMITTED)
    holds.count_call(machine.saga.steps[claimed.position].uses, row.id, failure)
    if outcome is not None:
        _log(row, transitions.step_name(claimed, machine.saga), outcome, failure)
        return row, outcome
    if may_go_on and row.is_open:
        dispatch(row)
    raise Stale(f"{claimed.id}: the saga moved on during the call")


def _record(row: Row, machine: Machine, result: dict[str, Any] | None, failure: Exception | None) -> Outcome:
    if failure is not None:
        return _fail(row, machine, failure)
    machine.complete(row, result)
    return Outcome.MOVED


# -- small parts ----------------------------------------------------------------------------------------------------
def _fail(row: Row, machine: Machine, error: Exception) -> Outcome:
    if holds.is_probe(machine.saga.steps[row.position].uses, row.id) and not isinstance(error, Refusal):
        machine.fail_probe(row, error)
        return Outcome.WAITING
    was_going_back = row.is_going_back
    machine.fail(row, error)
    if row.is_waiting:
        return Outcome.WAITING
    is_best_effort_left_behind = was_going_back and row.status is not Status.NEEDS_ATTENTION
    return Outcome.MOVED if is_best_effort_left_behind else Outcome.FAILED


def _function(row: Row, saga: Saga) -> StepFunction:
    if row.is_going_back:
        return transitions.compensation_at(saga, row.position).function
    return saga.steps[row.position].function


def _log(row: Row, step: str, outcome: Outcome, error: Exception | None) -> None:
    if error is None:
        return
    expected = isinstance(error, Problem)  # it explains itself; anything else is shown with its traceback
    logger.log(
        logging.INFO if isinstance(error, Refusal) else logging.WARNING,
        "Step %s failed, %s: %s", step, outlook(row), row.error or describe(error),
        exc_info=None if expected else error, extra=fields(row, "step_failed", step=step, outcome=outcome.value),
    )  # fmt: skip
