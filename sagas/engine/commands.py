"""The engine's front door: start a saga, cancel it, send a parked one on.

The database is the truth, a message is only a hint. See `docs/explanation/` for the protocol.
"""

from __future__ import annotations

import dataclasses
import logging
import uuid
from functools import partial
from typing import Any

from django.db import transaction

from sagas.definition import registry
from sagas.definition.saga import Saga, result_types
from sagas.engine import dispatch
from sagas.errors import AlreadyCancelling, CannotCancel, CannotRetry, UnknownSaga, WrongResult
from sagas.failpoints import Failpoint, reach
from sagas.ids import uuid7
from sagas.machine import transitions, wiring
from sagas.machine.state import Row
from sagas.models import Status
from sagas.storage import rows

logger = logging.getLogger("sagas")


def start(saga: Saga, *, input: Any, key: str, subject: str, owner: str = "") -> Row:  # noqa: A002
    """Start a saga and run its first step, if that is local, in the caller's transaction.

    `input` is an instance of the definition's `takes`, `key` makes starting idempotent (the saga already started with
    it is returned), `subject` is what the saga is about and `owner` who may see it. Whatever the first step raises
    goes to the caller, and nothing is written. Must run inside `transaction.atomic()`.
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("engine.start() must run inside transaction.atomic()")
    moment = rows.recent_now()
    row = Row(
        id=uuid7(), name=saga.name, version=saga.version, key=key, subject=subject, owner=owner,
        status=Status.STARTED, data={"input": dataclasses.asdict(input)}, now=moment, created_at=moment,
    )  # fmt: skip
    transitions.begin(row, saga)
    is_new = rows.insert(row) if saga.steps[0].is_remote else _insert_with_first_step(row, saga)
    if not is_new:
        existing = rows.find_by_key(key)
        if existing is None:
            raise RuntimeError(f"saga key {key!r} is taken by a transaction that was rolled back; try again")
        return existing
    _drive_on_commit(row, Failpoint.START_COMMITTED)
    logger.info("Saga started", extra={"action": "saga_started", "saga_id": str(row.id), "saga": saga.name})
    return row


def _insert_with_first_step(row: Row, saga: Saga) -> bool:
    """Write the saga and run its first step. False, and nothing done, if its key is taken.

    A step that returns nothing is recorded before it runs, which saves a statement; if it raises, the record goes with
    the caller's transaction like everything else.
    """
    first = saga.steps[0].function
    given = wiring.arguments(row, saga, first)
    returns_nothing = not result_types(first)
    if returns_nothing:
        transitions.complete_step(row, saga, None)
    if not rows.insert(row):
        return False
    result = first(**given)
    if not returns_nothing:
        transitions.complete_step(row, saga, result)
        rows.save(row)
    return True


@transaction.atomic
def cancel(saga_id: uuid.UUID, *, reason_code: str, reason: str, actor: str, request_key: str = "") -> Row:
    """Cancel a saga: the one door for the endpoint, the admin action and the clock.

    The definition's `on_cancel` claims the subject in the same transaction, so that whoever loses the race for it
    (accept or cancel) is told. A call in flight is waited for, then undone. A repetition with the `request_key` that
    started the cancellation changes nothing. Raises `UnknownSaga`, `AlreadyCancelling`, `CannotCancel`, or what
    `on_cancel` raises.
    """
    row = locked(saga_id)
    if request_key and row.data.get("cancel_key") == request_key:
        return row
    saga = registry.get(row.name, row.version)
    _require_cancellable(row, saga)
    if saga.on_cancel is not None:
        saga.on_cancel(row.subject)
    if request_key:
        row.data["cancel_key"] = request_key
    transitions.cancel(row, saga, reason_code=reason_code, reason=reason, actor=actor)
    rows.save(row)
    if not row.is_leased:
        _drive_on_commit(row, Failpoint.CANCEL_COMMITTED)
    told = {"action": "saga_cancelling", "saga_id": str(row.id), "saga": row.name, "actor": actor}
    transaction.on_commit(partial(logger.info, "Saga cancelling: %s", reason, extra=told))
    return row


@transaction.atomic
def retry(saga_id: uuid.UUID, *, reason: str, actor: str) -> Row:
    """Send a saga that needs attention on, with fresh retries. Raises `UnknownSaga` or `CannotRetry`."""
    row, saga = _parked(saga_id)
    transitions.resume(row, saga, reason=reason, actor=actor)
    return _settled_by(row, "saga_retried", reason, actor)


@transaction.atomic
def skip(saga_id: uuid.UUID, *, reason: str, actor: str, result: dict[str, Any] | None = None) -> Row:
    """Take the step (or compensation) a saga is parked at as done by hand, and go on behind it.

    `result` is what the step would have returned; later steps may need it. Raises `WrongResult` if it is not that.
    """
    row, saga = _parked(saga_id)
    going_forward = row.resume_status == Status.STARTED
    expected = set(result_types(saga.steps[row.position].function)) if going_forward else set()
    if set(result or {}) != expected:
        wanted = ", ".join(sorted(expected)) or "nothing"
        raise WrongResult(f"{transitions.step_name(row, saga)} returns {wanted}.", expected=sorted(expected))
    transitions.skip(row, saga, result, reason=reason, actor=actor)
    return _settled_by(row, "saga_step_skipped", reason, actor)


@transaction.atomic
def close(saga_id: uuid.UUID, *, reason: str, actor: str) -> Row:
    """End a saga that needs attention where it stands: the rest was settled by hand."""
    row, _ = _parked(saga_id)
    transitions.close(row, reason=reason, actor=actor)
    return _settled_by(row, "saga_closed", reason, actor)


def _parked(saga_id: uuid.UUID) -> tuple[Row, Saga]:
    row = locked(saga_id)
    if row.status is not Status.NEEDS_ATTENTION:
        raise CannotRetry(f"The saga is {row.status.value}.", current_status=row.status.value)
    return row, registry.get(row.name, row.version)


def _settled_by(row: Row, action: str, reason: str, actor: str) -> Row:
    rows.save(row)
    _drive_on_commit(row, Failpoint.RETRY_COMMITTED)
    told = {"action": action, "saga_id": str(row.id), "saga": row.name, "actor": actor}
    transaction.on_commit(partial(logger.info, "Settled by an operator: %s", reason, extra=told))
    return row


def locked(saga_id: uuid.UUID) -> Row:
    """The saga's row, locked. Raises `UnknownSaga`."""
    row = rows.lock(saga_id)
    if row is None:
        raise UnknownSaga(f"There is no saga {saga_id}.")
    return row


def _require_cancellable(row: Row, saga: Saga) -> None:
    if row.status is Status.CANCELLING or row.resume_status == Status.CANCELLING:
        raise AlreadyCancelling("The saga is being cancelled already.", current_status=row.status.value)
    is_parked_forward = row.status is Status.NEEDS_ATTENTION and row.resume_status == Status.STARTED
    is_claimable = row.status is Status.COMPLETED and saga.on_cancel is not None
    is_running = row.status in (Status.STARTED, Status.COMPENSATING)
    if not (is_running or is_parked_forward or is_claimable):
        raise CannotCancel(f"The saga is {row.status.value}.", current_status=row.status.value)


def _drive_on_commit(row: Row, point: Failpoint) -> None:
    def drive() -> None:
        reach(point)
        dispatch.drive(row)

    transaction.on_commit(drive, robust=True)
