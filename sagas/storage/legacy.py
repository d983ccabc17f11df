"""Rows of the release before, which had no columns for direction, phase and what may have run.

While both releases run, a process of the old one moves a row and leaves these columns as they were: `state_seq` then
differs from `seq`, and the state is inferred from the columns that the old release does write. Two facts that it keeps
in `data` are written there too. The release after this one deletes this module, `state_seq`, and the columns' defaults.
"""

from __future__ import annotations

from typing import Any

from sagas.machine.state import Row
from sagas.statuses import FINAL, GOING_BACK, Direction, Phase, Status

#: In the old release's data: the position of a call tried before an operator sent its parked saga on.
TRIED_BEFORE_PARKING = "tried_before_parking"
#: And the Idempotency-Key of the request that cancelled the saga.
CANCEL_KEY = "cancel_key"


def complete(row: Row, *, is_current: bool) -> None:
    """Take the old release's keys out of `data`; and infer the state if that release wrote the row last."""
    tried_at = row.data.pop(TRIED_BEFORE_PARKING, None)
    cancel_key = row.data.pop(CANCEL_KEY, "")
    if is_current:
        return
    row.cancel_key = cancel_key
    row.direction = _direction(row)
    row.phase = _phase(row)
    was_tried = tried_at == row.position and not row.is_going_back
    row.may_have_run = _was_tried_earlier(row) or was_tried
    if was_tried:
        row.deadline_at = None


def _direction(row: Row) -> Direction:
    undone = (Status.COMPENSATED, Status.CANCELLED, Status.FAILED)
    is_back = row.status in (*GOING_BACK, *undone) or row.resume_status in GOING_BACK
    return Direction.BACK if is_back else Direction.FORWARD


def _phase(row: Row) -> Phase:
    if row.status in FINAL:
        return Phase.DONE
    if row.status is Status.NEEDS_ATTENTION:
        return Phase.PARKED
    if row.held_by:
        return Phase.HELD
    if row.lease_token is not None:
        return Phase.RUNNING
    return Phase.RETRYING if row.attempt > 0 and row.dispatches == 0 else Phase.READY


def _was_tried_earlier(row: Row) -> bool:
    """Of a local step too, where it means nothing: such a step leaves nothing when it fails."""
    if row.status in FINAL:
        return False
    return row.attempt > (1 if row.phase is Phase.RUNNING else 0)


def data(row: Row) -> dict[str, Any]:
    """The row's data as a process of the old release can use it."""
    extra: dict[str, Any] = {CANCEL_KEY: row.cancel_key} if row.cancel_key else {}
    if row.may_have_run and row.attempt == 0 and not row.is_going_back and row.is_open:
        extra[TRIED_BEFORE_PARKING] = row.position
    return row.data | extra if extra else row.data
