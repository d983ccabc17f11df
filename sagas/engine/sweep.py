"""The guarantee: whatever stands still is looked at again, and the database decides what becomes of it.

The sweep runs from beat and is safe to run anywhere, twice or late. Lost messages, a purged broker, killed workers
and dead beats all end here.
"""

from __future__ import annotations

import logging
import uuid

from django.db import transaction

from sagas.conf import options
from sagas.definition import registry
from sagas.engine import dispatch
from sagas.failpoints import Failpoint, reach
from sagas.holds import holds, release
from sagas.machine import transitions
from sagas.machine.state import Row
from sagas.storage import rows

logger = logging.getLogger("sagas")

#: Key of the PostgreSQL advisory lock that keeps sweeps apart.
SWEEP_LOCK = 7_240_418


def decide(saga_id: uuid.UUID, epoch: int) -> Row | None:
    """What `link_error` asks: a message of this `epoch` ended badly; what now?

    Nothing is concluded from the call itself: Celery may make it for a step that succeeded, twice, or never. If the
    failure is recorded the saga has turned round, one epoch up, and is driven back. If nothing is recorded the worker
    died: the claim, if there was one, is void and the saga is driven on. Returns the row to drive, if any.
    """
    with transaction.atomic():
        row = rows.lock(saga_id)
        must_drive = row is not None and row.is_open and _is_ours_to_drive(row, epoch)
    reach(Failpoint.DECISION_COMMITTED)
    return row if must_drive else None


def _is_ours_to_drive(row: Row, epoch: int) -> bool:
    if registry.find(row.name, row.version) is None:
        return False
    has_just_turned = row.epoch == epoch + 1 and row.is_going_back and row.attempt == 0 and row.drives == 0
    if has_just_turned:
        return not row.is_leased
    return row.epoch == epoch and not row.is_waiting and _redrive(row, "a worker died")


def sweep() -> int:
    """Drive one batch of overdue sagas, oldest first; returns how many were driven.

    One batch a call, and one call at a time: after a flood most of what is overdue only waits for its turn, and a sweep
    that wanted to see the end of it would keep the workers from the work.
    """
    driven = [*sweep_batch(), *release.let_go(), *retry_parked()]
    for row in driven:
        dispatch.drive(row)
    return len(driven)


def sweep_batch() -> list[Row]:
    """Decide one batch of overdue sagas in one transaction; returns those to drive."""
    with transaction.atomic():
        is_alone = rows.try_lock(SWEEP_LOCK)
        overdue = rows.take_overdue(options().sweep_batch_size) if is_alone else []
        driven = [row for row in overdue if _redrive(row, "overdue")]
    reach(Failpoint.SWEEP_COMMITTED)
    return driven


def retry_parked() -> list[Row]:
    """Try parked sagas again whose time for that has come; returns those to drive."""
    if not options().auto_retry_delays:
        return []
    with transaction.atomic():
        due = rows.take_retryable(options().sweep_batch_size)
        retried = [row for row in due if _auto_retry(row)]
    if due:
        reach(Failpoint.AUTO_RETRY_COMMITTED)
    return retried


def _auto_retry(row: Row) -> bool:
    saga = registry.find(row.name, row.version)
    if saga is None:
        row.retry_at = row.now + options().longest_stall  # left for a process that knows it
    else:
        transitions.auto_retry(row, saga)
    rows.save(row)
    return row.is_open


def _redrive(row: Row, cause: str) -> bool:
    saga = registry.find(row.name, row.version)
    if saga is None:
        row.wake_at = row.now + options().stall  # left for a process that knows it
        rows.save(row)
        return False
    if row.is_held:
        transitions.stay_held(row)  # `ramp` lets it go
        rows.save(row)
        return False
    unanswered = saga.steps[row.position].uses if row.lease_token is not None else ""
    must_drive = transitions.redrive(row, saga, cause)
    rows.save(row)
    if unanswered:
        holds.count_trouble(unanswered, row.id, row.error)
    logger.info(
        "Saga driven again: %s", cause,
        extra={"action": "saga_redriven", "saga_id": str(row.id), "saga": row.name, "status": row.status.value},
    )  # fmt: skip
    return must_drive
