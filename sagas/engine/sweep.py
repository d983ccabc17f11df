"""The guarantee: a saga that stands still is looked at again, and the database decides what becomes of it.

The sweep runs from beat and is safe to run anywhere, twice or late. Lost messages, a purged broker, killed workers
and dead beats all end here.
"""

from __future__ import annotations

import logging
import uuid

from sagas.conf import options
from sagas.definition import registry
from sagas.engine.dispatch import dispatch
from sagas.engine.logs import fields, outlook
from sagas.failpoints import Failpoint, reach
from sagas.holds import holds, release
from sagas.machine.decisions import Machine
from sagas.machine.state import Row
from sagas.statuses import SUSPENDED, Phase
from sagas.storage import storage

logger = logging.getLogger("sagas")

#: Key of the PostgreSQL advisory lock that keeps sweeps apart.
SWEEP_LOCK = 7_240_418


def decide(saga_id: uuid.UUID, epoch: int) -> Row | None:
    """What `link_error` asks: a message of this `epoch` ended badly; what now? Returns the row to dispatch, if any.

    Nothing is concluded from the call itself: Celery may make it for a step that succeeded, twice, or never. If the
    failure is recorded the saga has changed direction, one epoch up, and goes back. If nothing is recorded the worker
    died: the claim, if there was one, is void and the saga is sent on.
    """
    with storage().atomic():
        row = storage().lock(saga_id)
        must_dispatch = row is not None and row.is_open and _is_ours_to_dispatch(row, epoch)
    reach(Failpoint.DECISION_COMMITTED)
    return row if must_dispatch else None


def _is_ours_to_dispatch(row: Row, epoch: int) -> bool:
    if registry.find(row.name, row.version) is None:
        return False
    has_just_turned = row.epoch == epoch + 1 and row.is_going_back and row.attempt == 0 and row.dispatches == 0
    if has_just_turned:
        return row.phase is Phase.READY
    return row.epoch == epoch and not row.is_waiting and _redispatch(row, "a worker died")


def sweep() -> int:
    """Send one batch of overdue sagas on, oldest first; returns how many.

    One batch a call, and one call at a time: after a flood most of what is overdue only waits for its turn, and a sweep
    that went on to the end of it would keep the workers from the work.
    """
    rows = [*sweep_batch(), *release.resume_held(), *retry_parked()]
    for row in rows:
        dispatch(row)
    return len(rows)


def sweep_batch() -> list[Row]:
    """Decide one batch of overdue sagas in one transaction; returns those to dispatch."""
    with storage().atomic():
        is_alone = storage().try_lock(SWEEP_LOCK)
        overdue = storage().take_overdue(options().sweep_batch_size) if is_alone else []
        rows = [row for row in overdue if _redispatch(row, "overdue")]
    reach(Failpoint.SWEEP_COMMITTED)
    return rows


def retry_parked() -> list[Row]:
    """Retry parked sagas whose time for that has come; returns those to dispatch."""
    if not options().auto_retry_delays:
        return []
    with storage().atomic():
        due = storage().take_retryable(options().sweep_batch_size)
        retried = [row for row in due if _auto_retry(row)]
    if due:
        reach(Failpoint.AUTO_RETRY_COMMITTED)
    return retried


def _auto_retry(row: Row) -> bool:
    saga = registry.find(row.name, row.version)
    if saga is None:
        row.retry_at = row.now + options().longest_stall  # left for a process that knows it
    else:
        Machine(saga, options()).auto_retry(row)
    storage().save(row)
    return row.is_open


def _redispatch(row: Row, cause: str) -> bool:
    saga = registry.find(row.name, row.version)
    if saga is None:
        row.wake_at = row.now + options().stall  # left for a process that knows it
        storage().save(row)
        return False
    machine = Machine(saga, options())
    if row.phase in SUSPENDED:
        machine.stay_suspended(row)
        storage().save(row)
        return False
    unanswered = saga.steps[row.position].uses if row.has_own_call else ""
    must_dispatch = machine.redispatch(row, cause)
    storage().save(row)
    if unanswered:
        holds.count_failure(unanswered, row.id, row.error)
    logger.info(
        "Saga %s (%s): %s", "sent again" if must_dispatch else "given up", cause, outlook(row),
        extra=fields(row, "saga_redispatched", status=row.status.value),
    )  # fmt: skip
    return must_dispatch
