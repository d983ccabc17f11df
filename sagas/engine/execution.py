"""Running what a hint points at: claim, effect, record.

Ask of every line what happens when the process dies on it. Before a commit nothing has happened; after it the row
says what to do next, and `wake_at` brings the sweep. A call's claim without a record is "outcome unknown".
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable
from typing import Any

from django.db import transaction

from sagas.conf import options
from sagas.definition import registry
from sagas.definition.saga import Saga, StepFunction, result_types
from sagas.engine import dispatch
from sagas.engine.dispatch import Hint
from sagas.errors import Problem, Refusal
from sagas.failpoints import Failpoint, reach
from sagas.holds import holds
from sagas.machine import transitions, wiring
from sagas.machine.state import Row
from sagas.models import Status
from sagas.storage import rows

logger = logging.getLogger("sagas")


class Stale(Exception):
    """The hint no longer matches its saga: it was done, overtaken or is being done. It must do nothing."""


class StepFailed(Exception):
    """A step failed for good and that is recorded; raised so that Celery calls `link_error`."""


class Outcome(enum.Enum):
    MOVED = "moved"  # done; there may be more to do at once
    WAITING = "waiting"  # failed, to be retried later by the sweep
    TURNED = "turned"  # failed for good; going back, parked or finished


def follow(hint: Hint, *, may_run: Callable[[str], bool], is_redelivered: bool = False) -> Row:
    """Run the hinted step, then run ahead for as long as this worker may also run what comes next.

    Returns the row as last committed. Raises `Stale` if the hint had nothing to do, or if the saga was taken over on
    the way, and `StepFailed` after a final failure was recorded.
    """
    reach(Failpoint.HINT_RECEIVED)
    started_at = time.monotonic()
    row, outcome = _run(hint, is_redelivered=is_redelivered)
    while outcome is Outcome.MOVED and row.is_open and _may_run_ahead(row, started_at, may_run):
        row, outcome = _run_ahead(row)
    if outcome is Outcome.TURNED:
        raise StepFailed(row.error or row.reason)
    return row


def _may_run_ahead(row: Row, started_at: float, may_run: Callable[[str], bool]) -> bool:
    if not options().run_ahead:
        return False
    saga = registry.get(row.name, row.version)
    step = saga.steps[row.position]
    needed = step.timeout.total_seconds() if step.is_remote else 1.0
    if time.monotonic() - started_at + needed > options().run_ahead_budget.total_seconds():
        return False
    name = dispatch.next_task(row, saga)
    return name is not None and may_run(name)


def _run_ahead(row: Row) -> tuple[Row, Outcome]:
    """The next step of a saga this worker has just moved, and so knows."""
    hint = Hint(row.id, row.position, row.epoch)
    saga = registry.get(row.name, row.version)
    function = _function(row, saga)
    row.now = rows.recent_now()
    if saga.steps[row.position].is_remote or result_types(function) or transitions.is_past_deadline(row, saga):
        return _run(hint, is_redelivered=False)
    try:
        with transaction.atomic():
            _move_then_run(row, saga, function, hint)
    except _EffectFailed as failure:
        return _record_failure(failure)
    reach(Failpoint.STEP_COMMITTED)
    return row, Outcome.MOVED


def _move_then_run(row: Row, saga: Saga, function: StepFunction, hint: Hint) -> None:
    """A local step that returns nothing is recorded before it runs: one statement locks, checks and moves the row.

    If the step raises, the record goes with its transaction.
    """
    given = wiring.arguments(row, saga, function)
    _complete(row, saga, None)
    if not rows.move(row, epoch=hint.epoch, position=hint.position):
        raise Stale(f"{hint}: the saga moved on")
    reach(Failpoint.STEP_MOVED)
    try:
        function(**given)
        reach(Failpoint.STEP_DONE)
    except Exception as trouble:
        raise _EffectFailed(hint, saga, trouble) from trouble


def _run(hint: Hint, *, is_redelivered: bool) -> tuple[Row, Outcome]:
    """One step: a local one in a single transaction, a call in two with the call between them."""
    try:
        with transaction.atomic():
            row, saga = _match(hint, is_redelivered=is_redelivered)
            reach(Failpoint.STEP_MATCHED)
            is_remote = saga.steps[row.position].is_remote
            stopped = _stop_before(row, saga)
            if stopped is not None:
                rows.save(row)
            elif is_remote:
                function = _function(row, saga)
                token = transitions.claim(row, saga)
                rows.save(row)
            else:
                _run_local(row, saga)
    except _EffectFailed as failure:
        return _record_failure(failure)
    if stopped is not None:
        reach(Failpoint.STOP_COMMITTED)
        return row, stopped
    if is_remote:
        reach(Failpoint.CLAIM_COMMITTED)
        return _call(row, saga, function, token)
    reach(Failpoint.STEP_COMMITTED)
    return row, Outcome.MOVED


def _match(hint: Hint, *, is_redelivered: bool) -> tuple[Row, Saga]:
    """Lock the saga and check that the hint still means it. Raises `Stale`.

    A hint that is one step behind stands for the step that is due: its own is done, but the message that should have
    followed may be lost. One that the broker delivered again, because its worker vanished, may be any number of steps
    behind, for that worker may have run ahead, and takes over the call it may have died in.
    """
    row = rows.lock(hint.saga_id)
    if row is None or not row.is_open or row.epoch != hint.epoch:
        raise Stale(f"{hint}: {'gone' if row is None else f'{row.status} epoch {row.epoch}'}")
    if row.is_leased and not is_redelivered:
        raise Stale(f"{hint}: being executed")
    if row.is_held:
        raise Stale(f"{hint}: waits for {row.held_by}")
    passed = hint.position - row.position if row.is_going_back else row.position - hint.position
    if passed < 0 or (passed > 1 and not is_redelivered):
        raise Stale(f"{hint}: the saga stands at {row.position}")
    saga = registry.find(row.name, row.version)
    if saga is None:
        raise Stale(f"{hint}: left for a worker that knows {row.name} v{row.version}")
    return row, saga


def _stop_before(row: Row, saga: Saga) -> Outcome | None:
    """Whether the step must not begin: the time is up, or what it uses is on hold."""
    if transitions.is_past_deadline(row, saga):
        transitions.miss_deadline(row, saga)
        return Outcome.TURNED
    if holds.blocks(saga.steps[row.position].uses, row.id):
        transitions.hold(row, saga)
        return Outcome.WAITING
    return None


class _EffectFailed(Exception):
    """Carries a local step's exception out of the transaction that it made void."""

    def __init__(self, hint: Hint, saga: Saga, trouble: Exception) -> None:
        super().__init__(str(trouble))
        self.hint, self.saga, self.trouble = hint, saga, trouble


def _run_local(row: Row, saga: Saga) -> None:
    """The effect and the record of it, in the transaction the caller holds."""
    here = Hint(row.id, row.position, row.epoch)
    function = _function(row, saga)
    try:
        result = function(**wiring.arguments(row, saga, function))
        _complete(row, saga, result)
        rows.save(row)
        reach(Failpoint.STEP_DONE)
    except Exception as trouble:
        raise _EffectFailed(here, saga, trouble) from trouble


def _call(row: Row, saga: Saga, function: StepFunction, token: int) -> tuple[Row, Outcome]:
    """The remote call, with no transaction open, and then its record if the claim still holds."""
    result: dict[str, Any] | None = None
    trouble: Exception | None = None
    try:
        result = function(**wiring.arguments(row, saga, function))
    except Exception as error:  # noqa: BLE001 - a refusal is an answer; anything else means "outcome unknown"
        trouble = error
    reach(Failpoint.CALL_RETURNED)
    return _record_call(row, saga, result, trouble, token)


def _record_call(
    claimed: Row, saga: Saga, result: dict[str, Any] | None, trouble: Exception | None, token: int
) -> tuple[Row, Outcome]:
    with transaction.atomic():
        row = rows.lock(claimed.id)
        if row is None:
            raise Stale(f"{claimed.id} is gone")
        is_ours = row.epoch == claimed.epoch and row.lease_token == token
        if is_ours:
            transitions.release(row)
            outcome = _record(row, saga, result, trouble)
            may_go_on = False
        else:
            name = transitions.step_name(claimed, saga)
            may_go_on = transitions.keep_fenced(
                row, name, result if trouble is None else {"error": transitions.describe(trouble)}, token,
                is_undo=claimed.is_going_back,
            )  # fmt: skip
        rows.save(row)
        reach(Failpoint.CALL_RECORDING)
    reach(Failpoint.CALL_COMMITTED)
    holds.tell(saga.steps[claimed.position].uses, row.id, trouble)
    if is_ours:
        _log(row, outcome, trouble)
        return row, outcome
    if may_go_on and row.is_open:
        dispatch.drive(row)
    raise Stale(f"{claimed.id}: the saga moved on during the call")


def _record(row: Row, saga: Saga, result: dict[str, Any] | None, trouble: Exception | None) -> Outcome:
    if trouble is None:
        _complete(row, saga, result)
        return Outcome.MOVED
    return _fail(row, saga, trouble)


def _record_failure(failure: _EffectFailed) -> tuple[Row, Outcome]:
    """A local step failed and its transaction is gone; commit that fact before Celery hears of it."""
    saga_id, position, epoch = failure.hint
    with transaction.atomic():
        row = rows.lock(saga_id)
        if row is None or row.epoch != epoch or row.position != position:
            raise Stale(f"{failure.hint} moved on")
        row.attempt += 1
        outcome = _fail(row, failure.saga, failure.trouble)
        rows.save(row)
        reach(Failpoint.FAILURE_RECORDING)
    reach(Failpoint.FAILURE_COMMITTED)
    _log(row, outcome, failure.trouble)
    return row, outcome


def _complete(row: Row, saga: Saga, result: dict[str, Any] | None) -> None:
    if row.is_going_back:
        transitions.complete_undo(row, saga)
    else:
        transitions.complete_step(row, saga, result)


def _fail(row: Row, saga: Saga, trouble: Exception) -> Outcome:
    if holds.is_probe(saga.steps[row.position].uses, row.id) and not isinstance(trouble, Refusal):
        transitions.fail_probe(row, saga, trouble)
        return Outcome.WAITING
    if not row.is_going_back:
        transitions.fail_step(row, saga, trouble)
        return Outcome.WAITING if row.is_waiting else Outcome.TURNED
    transitions.fail_undo(row, saga, trouble)
    if row.status is Status.NEEDS_ATTENTION:
        return Outcome.TURNED
    return Outcome.WAITING if row.is_waiting else Outcome.MOVED  # moved: a best effort that was let go


def _function(row: Row, saga: Saga) -> StepFunction:
    step = saga.steps[row.position]
    if not row.is_going_back:
        return step.function
    if step.compensation is None:
        raise LookupError(f"{saga.name}: {step.name} has no compensation")
    return step.compensation.function


def _log(row: Row, outcome: Outcome, trouble: Exception | None) -> None:
    if trouble is None:
        return
    expected = isinstance(trouble, Problem)  # it explains itself; anything else is shown with its traceback
    logger.log(
        logging.INFO if isinstance(trouble, Refusal) else logging.WARNING,
        "Step failed (%s): %s", outcome.value, row.error,
        exc_info=None if expected else trouble,
        extra={"action": "step_failed", "saga_id": str(row.id), "saga": row.name, "outcome": outcome.value},
    )  # fmt: skip
