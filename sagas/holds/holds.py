"""Dependencies on hold: sagas stop before a call that uses one, and go on when it is released.

An operator puts a dependency on hold, or the circuit breaker does after so many failed calls in a row. What is on hold
is read from the database at most once a second by each process, so a call may still go out for a second after; the
answer "on hold" is always fresh, so that a release counts at once.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sagas.conf import options
from sagas.definition import registry
from sagas.errors import AlreadyHeld, NotHeld, Refusal, UnknownDependency
from sagas.failpoints import Failpoint, reach
from sagas.storage import Failures, Hold, storage, transactional

logger = logging.getLogger("sagas")

#: The actor of holds and releases that no operator asked for.
BREAKER = "circuit breaker"
#: How old "nothing is on hold" may be.
FRESH = timedelta(seconds=1)
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read last: dependencies on hold, and those whose last call failed."""

    held: frozenset[str]
    failing: frozenset[str]
    read_at: datetime


@dataclass
class Memory:
    """What this process read last; None to read again."""

    seen: Seen | None = None


memory = Memory()


# -- what the engine asks -------------------------------------------------------------------------------------------
def blocks(dependency: str, saga_id: uuid.UUID) -> bool:
    """Whether this saga must wait before a call that uses `dependency`."""
    if not dependency or dependency not in _recent().held:
        return False
    hold = storage().active_hold(dependency)
    return hold is not None and hold.probe_saga_id != saga_id


def is_probe(dependency: str, saga_id: uuid.UUID) -> bool:
    """Whether this saga was let through to try whether `dependency` works again."""
    if not dependency:
        return False
    hold = storage().active_hold(dependency)
    return hold is not None and hold.probe_saga_id == saga_id


def count_call(dependency: str, saga_id: uuid.UUID, failure: Exception | None) -> None:
    """A call that uses `dependency` has ended and is recorded. A refusal is an answer: the dependency works."""
    if not dependency:
        return
    if failure is None or isinstance(failure, Refusal):
        _count_answer(dependency, saga_id)
    else:
        count_failure(dependency, saga_id, f"{type(failure).__name__}: {failure}")


def _count_answer(dependency: str, saga_id: uuid.UUID) -> None:
    seen = _recent()
    if dependency in seen.failing:
        storage().save_failures(Failures(dependency, 0, storage().now()))
        forget()
    if dependency in seen.held and is_probe(dependency, saga_id):
        with suppress(NotHeld):  # an operator was faster
            release_dependency(dependency, reason="It answered again.", actor=BREAKER)
        reach(Failpoint.BREAKER_COMMITTED)


@transactional
def count_failure(dependency: str, saga_id: uuid.UUID, what: str) -> None:
    """A call that uses `dependency` ended without an answer; after so many in a row it is put on hold."""
    limit = options().breaker_failures
    if not limit:
        return
    failures = storage().lock_failures(dependency)
    hold = storage().active_hold(dependency)
    if hold is not None:
        _end_probe(hold, saga_id)
    elif _one_more(failures) >= limit:
        _add(
            dependency, reason=f"{limit} calls in a row failed, the last with {what}", actor=BREAKER, is_automatic=True
        )
        storage().save_failures(replace(failures, in_a_row=0))
    storage().on_commit(lambda: reach(Failpoint.BREAKER_COMMITTED))


def _one_more(failures: Failures) -> int:
    """Count one failure; returns how many there are in a row now, within the breaker's window."""
    now = storage().now()
    if not failures.in_a_row or now - failures.since > options().breaker_window:
        failures = replace(failures, in_a_row=0, since=now)
    storage().save_failures(replace(failures, in_a_row=failures.in_a_row + 1))
    forget()
    return failures.in_a_row + 1


def _end_probe(hold: Hold, saga_id: uuid.UUID) -> None:
    if hold.probe_saga_id == saga_id:
        storage().save_hold(replace(hold, probe_saga_id=None))


def begin_probe(hold: Hold, saga_id: uuid.UUID) -> None:
    """Let this saga through. If nothing comes of it, another one probes when `probe_at` has come again."""
    delay = min(options().breaker_probe * 2 ** min(hold.probes + 1, 30), options().breaker_longest_probe)
    probe_at = storage().now() + delay
    storage().save_hold(replace(hold, probe_saga_id=saga_id, probe_at=probe_at, probes=hold.probes + 1))


# -- what operators ask ---------------------------------------------------------------------------------------------
@transactional
def hold_dependency(dependency: str, *, reason: str, actor: str) -> Hold:
    """Put a dependency on hold until somebody releases it. A hold of the circuit breaker becomes one of `actor`.

    Raises `UnknownDependency` if no step uses it, and `AlreadyHeld`.
    """
    if dependency not in known():
        names = ", ".join(known()) or "nothing"
        raise UnknownDependency(f"No step uses {dependency!r}; steps use {names}.")
    storage().lock_failures(dependency)  # so that it is put on hold once
    current = storage().active_hold(dependency)
    if current is not None and not current.is_automatic:
        raise AlreadyHeld(f"{dependency} is on hold since {current.held_at:%d %b %H:%M} UTC: {current.reason}")
    if current is not None:
        _end(current, reason=reason, actor=actor, per_second=options().release_per_second)
    return _add(dependency, reason=reason, actor=actor)


@transactional
def release_dependency(dependency: str, *, reason: str, actor: str, per_second: float | None = None) -> Hold:
    """Let the sagas that wait for `dependency` go on, `per_second` of them each second. Raises `NotHeld`."""
    current = storage().active_hold(dependency, lock=True)
    if current is None:
        raise NotHeld(f"{dependency} is not on hold.")
    return _end(current, reason=reason, actor=actor, per_second=per_second or options().release_per_second)


def known() -> list[str]:
    """Everything that a step of a definition of this process uses."""
    return sorted({step.uses for saga in registry.all_definitions() for step in saga.steps if step.uses})


def waiting() -> dict[str, int]:
    """How many sagas wait, by what they wait for."""
    return storage().held_counts()


def states() -> list[dict[str, Any]]:
    """The state of everything that steps use, or sagas wait for."""
    counted = waiting()
    return [state(name, storage().last_hold(name), counted) for name in sorted({*known(), *counted})]


def state(dependency: str, last: Hold | None, counted: Mapping[str, int]) -> dict[str, Any]:
    """A dependency, its last hold (all None if there was none), and how many sagas wait for it."""
    is_on_hold = last is not None and last.released_at is None
    return {
        "dependency": dependency,
        "is_on_hold": is_on_hold,
        "is_automatic": last is not None and last.is_automatic,
        "sagas_waiting": counted.get(dependency, 0),
        "reason": last and last.reason,
        "actor": last and last.actor,
        "held_at": last and last.held_at,
        "next_probe_at": last.probe_at if last is not None and is_on_hold else None,
        "released_at": last and last.released_at,
        "released_by": (last and last.released_by) or None,
        "per_second": last and last.per_second,
    }


def _add(dependency: str, *, reason: str, actor: str, is_automatic: bool = False) -> Hold:
    now = storage().now()
    probe_at = now + options().breaker_probe if is_automatic else None
    hold = Hold(dependency, reason[:LONGEST_REASON], actor, now, is_automatic=is_automatic, probe_at=probe_at)
    added = storage().add_hold(hold)
    _changed(added, "dependency_held", "%s is on hold: %s", reason, actor)
    return added


def _end(hold: Hold, *, reason: str, actor: str, per_second: float) -> Hold:
    now = storage().now()
    ended = replace(
        hold, released_at=now, resumed_until=now, released_by=actor, release_reason=reason, per_second=per_second
    )
    storage().save_hold(ended)
    _changed(ended, "dependency_released", "%s is released: %s", reason, actor)
    return ended


def _changed(hold: Hold, action: str, message: str, reason: str, actor: str) -> None:
    log_extra = {"action": action, "dependency": hold.dependency, "actor": actor}
    storage().on_commit(forget)
    storage().on_commit(lambda: logger.warning(message, hold.dependency, reason, extra=log_extra))


# -- reading rarely -------------------------------------------------------------------------------------------------
def _recent() -> Seen:
    now = storage().recent_now()
    if memory.seen is None or abs(now - memory.seen.read_at) > FRESH:
        held = frozenset(hold.dependency for hold in storage().active_holds())
        memory.seen = Seen(held, storage().failing(), now)
    return memory.seen


def forget() -> None:
    """Read again next time."""
    memory.seen = None
