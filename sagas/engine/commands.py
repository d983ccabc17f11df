"""What can be asked of a saga: start it, cancel it, send a parked one on.

The database is the truth; a message only says where to look. `docs/explanation/` describes the protocol.
"""

from __future__ import annotations

import dataclasses
import logging
import uuid
from typing import Any

from sagas.definition.saga import Saga, result_types
from sagas.engine.dispatch import dispatch
from sagas.engine.execution import machine_of
from sagas.engine.logs import fields, label
from sagas.errors import AlreadyCancelling, CannotCancel, CannotRetry, UnknownSaga, WrongResult
from sagas.failpoints import Failpoint, reach
from sagas.machine import transitions, wiring
from sagas.machine.decisions import Machine
from sagas.machine.state import Row
from sagas.statuses import Status
from sagas.storage import storage, transactional

logger = logging.getLogger("sagas")


def start(saga: Saga, *, input: Any, key: str, subject: str, owner: str = "") -> Row:  # noqa: A002
    """Start a saga and run its first step, if that is local, in the caller's transaction.

    `input` is an instance of the definition's `takes`, `key` makes starting idempotent (the saga already started with
    it is returned), `subject` is what the saga is about and `owner` who may see it. What the first step raises goes to
    the caller, and nothing is written. Raises `RuntimeError` outside of a transaction.
    """
    if not storage().is_in_transaction:
        raise RuntimeError("sagas.start() must run inside transaction.atomic()")
    moment = storage().recent_now()
    row = Row(
        id=storage().new_id(), name=saga.name, version=saga.version, key=key, subject=subject, owner=owner,
        status=Status.STARTED, data={"input": dataclasses.asdict(input)}, now=moment, created_at=moment,
    )  # fmt: skip
    machine = machine_of(row)
    machine.begin(row)
    is_new = storage().insert(row) if saga.steps[0].is_remote else _insert_with_first_step(row, machine)
    if not is_new:
        return _started_before(key)
    _dispatch_on_commit(row, Failpoint.START_COMMITTED)
    logger.info("Saga started: %s", label(row), extra=fields(row, "saga_started"))
    return row


def _insert_with_first_step(row: Row, machine: Machine) -> bool:
    """Write the saga and run its first step. False, and nothing done, if its key is taken.

    A step that returns nothing is recorded before it runs, which saves a statement; if it raises, the record goes with
    the caller's transaction like everything else.
    """
    first = machine.saga.steps[0].function
    given = wiring.arguments(row, machine.saga, first)
    returns_nothing = not result_types(first)
    if returns_nothing:
        machine.complete(row, None)
    if not storage().insert(row):
        return False
    result = first(**given)
    if not returns_nothing:
        machine.complete(row, result)
        storage().save(row)
    return True


def _started_before(key: str) -> Row:
    existing = storage().find_by_key(key)
    if existing is None:
        raise RuntimeError(f"saga key {key!r} is taken by a transaction that was rolled back; try again")
    return existing


@transactional
def cancel(saga_id: uuid.UUID, *, reason_code: str, reason: str, actor: str, request_key: str = "") -> Row:
    """Cancel a saga: the one function for the endpoint, the admin action and the clock.

    The definition's `on_cancel` claims the subject in the same transaction, so that who loses the race for it (accept
    or cancel) learns it. A call in flight is waited for, then undone. Repeating the request with the `request_key` that
    started the cancellation changes nothing. Raises `UnknownSaga`, `AlreadyCancelling`, `CannotCancel`, or what
    `on_cancel` raises.
    """
    row = locked(saga_id)
    if request_key and row.cancel_key == request_key:
        return row
    machine = machine_of(row)
    _require_cancellable(row, machine.saga)
    if machine.saga.on_cancel is not None:
        machine.saga.on_cancel(row.subject)
    row.cancel_key = request_key
    machine.cancel(row, reason_code=reason_code, reason=reason, actor=actor)
    storage().save(row)
    if not row.is_leased:
        _dispatch_on_commit(row, Failpoint.CANCEL_COMMITTED)
    _log_on_commit(row, "saga_cancelling", "Saga is cancelled", reason, actor)
    return row


@transactional
def retry(saga_id: uuid.UUID, *, reason: str, actor: str) -> Row:
    """Send a saga that needs attention on, with fresh retries. Raises `UnknownSaga` or `CannotRetry`."""
    row, machine = _parked(saga_id)
    machine.resume(row, reason=reason, actor=actor)
    return _settled_by(row, "saga_retried", "Saga is retried", reason, actor)


@transactional
def skip(saga_id: uuid.UUID, *, reason: str, actor: str, result: dict[str, Any] | None = None) -> Row:
    """Take the step (or compensation) a saga is parked at as done by hand, and go on after it.

    `result` is what the step would have returned, by name; later steps may need it. Raises `UnknownSaga`,
    `CannotRetry`, or `WrongResult` if `result` is not what the step returns.
    """
    row, machine = _parked(saga_id)
    expected = set() if row.is_going_back else set(result_types(machine.saga.steps[row.position].function))
    if set(result or {}) != expected:
        wanted = ", ".join(sorted(expected)) or "nothing"
        name = transitions.step_name(row, machine.saga)
        raise WrongResult(f"{name} returns {wanted}.", expected=sorted(expected))
    machine.skip(row, result, reason=reason, actor=actor)
    return _settled_by(row, "saga_step_skipped", "Saga goes on after a step that is skipped", reason, actor)


@transactional
def close(saga_id: uuid.UUID, *, reason: str, actor: str) -> Row:
    """End a saga that needs attention where it stands: the rest was settled by hand. Raises `UnknownSaga` or
    `CannotRetry`."""
    row, machine = _parked(saga_id)
    machine.close(row, reason=reason, actor=actor)
    return _settled_by(row, "saga_closed", "Saga is closed", reason, actor)


def _parked(saga_id: uuid.UUID) -> tuple[Row, Machine]:
    row = locked(saga_id)
    if row.status is not Status.NEEDS_ATTENTION:
        raise CannotRetry(f"The saga is {row.status.value}.", current_status=row.status.value)
    return row, machine_of(row)


def _settled_by(row: Row, action: str, message: str, reason: str, actor: str) -> Row:
    storage().save(row)
    _dispatch_on_commit(row, Failpoint.RETRY_COMMITTED)
    _log_on_commit(row, action, message, reason, actor)
    return row


def locked(saga_id: uuid.UUID) -> Row:
    """The saga's row, locked until the transaction ends. Raises `UnknownSaga`."""
    row = storage().lock(saga_id)
    if row is None:
        raise UnknownSaga(f"There is no saga {saga_id}.")
    return row


def _require_cancellable(row: Row, saga: Saga) -> None:
    if row.status is Status.CANCELLING or row.resume_status == Status.CANCELLING:
        raise AlreadyCancelling("The saga is being cancelled already.", current_status=row.status.value)
    is_claimable = row.status is Status.COMPLETED and saga.on_cancel is not None
    if not (row.is_open or row.status is Status.NEEDS_ATTENTION or is_claimable):
        raise CannotCancel(f"The saga is {row.status.value}.", current_status=row.status.value)


def _dispatch_on_commit(row: Row, point: Failpoint) -> None:
    def send() -> None:
        reach(point)
        dispatch(row)

    storage().on_commit(send)


def _log_on_commit(row: Row, action: str, message: str, reason: str, actor: str) -> None:
    log_extra = fields(row, action, actor=actor)
    text = f"{message}{f' by {actor}' if actor else ''}: {label(row)}: {reason}"
    storage().on_commit(lambda: logger.info("%s", text, extra=log_extra))
