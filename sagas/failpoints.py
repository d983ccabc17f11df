"""Named places where a test may let a process die: every commit, publish and effect boundary of the engine.

In production `reach` is one comparison with None. A hook can only be installed while tests run.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Failpoint(enum.StrEnum):
    """Where a process may die. A name says what has just happened, or is about to."""

    START_COMMITTED = "start_committed"  # the saga exists, no message was sent
    MESSAGE_PUBLISHING = "message_publishing"
    MESSAGE_PUBLISHED = "message_published"
    MESSAGE_RECEIVED = "message_received"
    STOP_COMMITTED = "stop_committed"  # going back, or held before the step; nothing was sent
    STEP_MATCHED = "step_matched"  # the row is locked, nothing is written
    STEP_MOVED = "step_moved"  # the record is written, the effect is not, nothing is committed
    STEP_DONE = "step_done"  # effect and record are written, nothing is committed
    STEP_COMMITTED = "step_committed"
    CLAIM_COMMITTED = "claim_committed"  # the call may be made, or not
    CALL_RETURNED = "call_returned"  # the effect happened, its record did not
    CALL_RECORDING = "call_recording"  # the record is written, not committed
    CALL_COMMITTED = "call_committed"
    FAILURE_RECORDING = "failure_recording"
    FAILURE_COMMITTED = "failure_committed"  # Celery does not know yet
    CANCEL_COMMITTED = "cancel_committed"
    RETRY_COMMITTED = "retry_committed"
    DECISION_COMMITTED = "decision_committed"  # link_error has decided, nothing was sent
    SWEEP_COMMITTED = "sweep_committed"
    AUTO_RETRY_COMMITTED = "auto_retry_committed"  # parked sagas go on, nothing was sent
    RESUME_COMMITTED = "resume_committed"  # held sagas may go on, nothing was sent
    BREAKER_COMMITTED = "breaker_committed"  # a failure is counted, or a hold began or ended automatically


Hook = Callable[[Failpoint], None]
_hook: Hook | None = None


def reach(point: Failpoint) -> None:
    """Tell that this place is reached. The hook may raise a `BaseException`, as a killed process would stop here."""
    if _hook is not None:
        _hook(point)


@contextmanager
def installed(hook: Hook) -> Iterator[None]:
    """Let `hook` hear of every place reached inside the block. Only while tests run."""
    global _hook  # noqa: PLW0603 - one process, one hook
    if "pytest" not in sys.modules:
        raise RuntimeError("failpoints exist for tests only")
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before
