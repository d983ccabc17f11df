"""Dependencies on hold: sagas stop before a call that uses one, and go on when it is released.

A person puts a dependency on hold, or the circuit breaker does after so many troubles in a row. What is on hold is
read from the database at most once a second per process, so a call may still go out for a second after; the answer
"on hold" is always fresh, so that a release counts at once.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count

from sagas.conf import options
from sagas.definition import registry
from sagas.errors import AlreadyHeld, NotHeld, Refusal, UnknownDependency
from sagas.failpoints import Failpoint, reach
from sagas.models import SagaDependency, SagaHold, SagaInstance
from sagas.storage import rows

logger = logging.getLogger("sagas")

#: The actor of holds and releases that nobody asked for.
BREAKER = "circuit breaker"
#: How old "nothing is on hold" may be.
FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read last: names on hold, and names whose last call went wrong."""

    held: frozenset[str]
    troubled: frozenset[str]
    read_at: float


_seen: Seen | None = None


# -- what the engine asks -------------------------------------------------------------------------------------------
def blocks(dependency: str, saga_id: uuid.UUID) -> bool:
    """Whether this saga must wait before a call that uses `dependency`."""
    if not dependency or dependency not in _recent().held:
        return False
    hold = active(dependency)
    return hold is not None and hold.probe_saga_id != saga_id


def is_probe(dependency: str, saga_id: uuid.UUID) -> bool:
    """Whether this saga was let through to try whether `dependency` works again."""
    if not dependency:
        return False
    return SagaHold.objects.filter(dependency=dependency, released_at=None, probe_saga_id=saga_id).exists()


def tell(dependency: str, saga_id: uuid.UUID, trouble: Exception | None) -> None:
    """A call that uses `dependency` has ended and is recorded. A refusal is an answer: the dependency works."""
    if not dependency:
        return
    if trouble is None or isinstance(trouble, Refusal):
        _count_answer(dependency, saga_id)
    else:
        count_trouble(dependency, saga_id, f"{type(trouble).__name__}: {trouble}")


def _count_answer(dependency: str, saga_id: uuid.UUID) -> None:
    seen = _recent()
    if dependency in seen.troubled:
        SagaDependency.objects.filter(name=dependency).update(troubles=0)
        forget()
    if dependency in seen.held and is_probe(dependency, saga_id):
        with suppress(NotHeld):  # an operator was faster
            release(dependency, reason="It answered again.", actor=BREAKER)
        reach(Failpoint.BREAKER_COMMITTED)


@transaction.atomic
def count_trouble(dependency: str, saga_id: uuid.UUID, what: str) -> None:
    """A call that uses `dependency` ended without an answer; after so many in a row it is put on hold."""
    limit = options().breaker_troubles
    if not limit:
        return
    counted = _locked(dependency)
    hold = active(dependency)
    if hold is not None:
        _end_probe(hold, saga_id)
    elif _troubles_in_a_row(counted) >= limit:
        _open(dependency, reason=f"{limit} calls in a row went wrong, the last with {what}"[:500])
    transaction.on_commit(lambda: reach(Failpoint.BREAKER_COMMITTED))


def _locked(dependency: str) -> SagaDependency:
    """Whoever may put it on hold holds this row, so that it is put on hold once."""
    started = {"troubles": 0, "first_trouble_at": rows.now()}
    counted, _ = SagaDependency.objects.select_for_update().get_or_create(name=dependency, defaults=started)
    return counted


def _troubles_in_a_row(counted: SagaDependency) -> int:
    now = rows.now()
    if not counted.troubles or now - counted.first_trouble_at > options().breaker_window:
        counted.troubles, counted.first_trouble_at = 0, now
    counted.troubles += 1
    counted.save()
    forget()
    return counted.troubles


def _open(dependency: str, *, reason: str) -> None:
    _insert(dependency, reason=reason, actor=BREAKER, is_automatic=True)
    SagaDependency.objects.filter(name=dependency).update(troubles=0)


def _end_probe(hold: SagaHold, saga_id: uuid.UUID) -> None:
    if hold.probe_saga_id == saga_id:
        SagaHold.objects.filter(pk=hold.pk, probe_saga_id=saga_id).update(probe_saga_id=None)


def begin_probe(hold: SagaHold, saga_id: uuid.UUID) -> None:
    """Let this saga through. Should nothing come of it, another one tries when `probe_at` has come again."""
    delay = min(options().breaker_probe * 2 ** min(hold.probes + 1, 30), options().breaker_longest_probe)
    SagaHold.objects.filter(pk=hold.pk).update(
        probe_saga_id=saga_id, probe_at=rows.now() + delay, probes=hold.probes + 1
    )


# -- what people ask ------------------------------------------------------------------------------------------------
@transaction.atomic
def hold(dependency: str, *, reason: str, actor: str) -> SagaHold:
    """Put a dependency on hold until somebody releases it. A hold of the circuit breaker becomes one of `actor`.

    Raises `UnknownDependency` if no step uses it, and `AlreadyHeld`.
    """
    if dependency not in known():
        names = ", ".join(known()) or "nothing"
        raise UnknownDependency(f"No step uses {dependency!r}; steps use {names}.")
    _locked(dependency)
    current = active(dependency)
    if current is not None and not current.is_automatic:
        raise AlreadyHeld(f"{dependency} is on hold since {current.held_at:%d %b %H:%M} UTC: {current.reason}")
    if current is not None:
        _end(current, reason=reason, actor=actor, per_second=options().release_per_second)
    return _insert(dependency, reason=reason, actor=actor)


@transaction.atomic
def release(dependency: str, *, reason: str, actor: str, per_second: float | None = None) -> SagaHold:
    """Let the sagas that wait for `dependency` go on, `per_second` of them each second. Raises `NotHeld`."""
    current = SagaHold.objects.select_for_update().filter(dependency=dependency, released_at=None).first()
    if current is None:
        raise NotHeld(f"{dependency} is not on hold.")
    return _end(current, reason=reason, actor=actor, per_second=per_second or options().release_per_second)


def active(dependency: str) -> SagaHold | None:
    return SagaHold.objects.filter(dependency=dependency, released_at=None).first()


def known() -> list[str]:
    """Everything that a step of a definition of this process uses."""
    return sorted({step.uses for saga in registry.all_definitions() for step in saga.steps if step.uses})


def waiting() -> dict[str, int]:
    """How many sagas wait, by what they wait for."""
    counted = SagaInstance.objects.exclude(held_by="").values_list("held_by").annotate(Count("id")).order_by("held_by")
    return dict(counted)


def states() -> list[dict[str, Any]]:
    """Everything that steps use, or sagas wait for, with its last hold."""
    counted = waiting()
    names = sorted({*known(), *counted})
    return [state(name, SagaHold.objects.filter(dependency=name).first(), counted) for name in names]


def state(dependency: str, last: SagaHold | None, counted: Mapping[str, int]) -> dict[str, Any]:
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


def _insert(dependency: str, *, reason: str, actor: str, is_automatic: bool = False) -> SagaHold:
    now = rows.now()
    probe_at = now + options().breaker_probe if is_automatic else None
    made = SagaHold.objects.create(
        dependency=dependency, reason=reason, actor=actor, is_automatic=is_automatic, held_at=now, probe_at=probe_at
    )
    _changed(made, "dependency_held", reason, actor)
    return made


def _end(hold: SagaHold, *, reason: str, actor: str, per_second: float) -> SagaHold:
    now = rows.now()
    hold.released_at = hold.ramped_at = now
    hold.released_by, hold.release_reason, hold.per_second = actor, reason, per_second
    hold.save()
    _changed(hold, "dependency_released", reason, actor)
    return hold


def _changed(hold: SagaHold, action: str, reason: str, actor: str) -> None:
    told = {"action": action, "dependency": hold.dependency, "actor": actor}
    transaction.on_commit(forget)
    transaction.on_commit(lambda: logger.warning("%s: %s", action.replace("_", " "), reason, extra=told))


# -- reading rarely -------------------------------------------------------------------------------------------------
def _recent() -> Seen:
    global _seen  # noqa: PLW0603 - one reading a process
    if _seen is None or time.monotonic() - _seen.read_at > FRESH_SECONDS:
        held = SagaHold.objects.filter(released_at=None).values_list("dependency", flat=True)
        troubled = SagaDependency.objects.filter(troubles__gt=0).values_list("name", flat=True)
        _seen = Seen(frozenset(held), frozenset(troubled), time.monotonic())
    return _seen


def forget() -> None:
    """Read again next time."""
    global _seen  # noqa: PLW0603 - one reading a process
    _seen = None
