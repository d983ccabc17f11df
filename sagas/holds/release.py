"""Sagas that waited for a dependency go on: one to try whether it works again, or so many a second after a release.

Part of the sweep. Whatever is lost on the way is found by the next one: a saga that was let go has `wake_at`, and one
that was not still names what it waits for.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from sagas.conf import options
from sagas.definition import registry
from sagas.failpoints import Failpoint, reach
from sagas.holds import holds
from sagas.machine import transitions
from sagas.machine.state import Row
from sagas.models import SagaHold
from sagas.storage import rows

#: Key of the PostgreSQL advisory lock that keeps ramps apart.
RAMP_LOCK = 7_240_429
#: After a pause of the sweep no more sagas go on at once than in this much time.
LONGEST_CATCH_UP = timedelta(seconds=10)


def let_go() -> list[Row]:
    """Let those go whose turn it is; returns the waiting to drive."""
    waited_for = rows.held_dependencies()
    if not waited_for:
        return []
    with transaction.atomic():
        is_alone = rows.try_lock(RAMP_LOCK)
        waiting = [row for dependency in waited_for for row in _next(dependency)] if is_alone else []
    reach(Failpoint.LET_GO_COMMITTED)
    return [row for row in waiting if registry.find(row.name, row.version)]  # others are swept by who knows them


def _next(dependency: str) -> list[Row]:
    hold = holds.active(dependency)
    return _probing(hold) if hold is not None else _released(dependency)


def _probing(hold: SagaHold) -> list[Row]:
    """One saga, if it is time to try again."""
    if hold.probe_at is None or hold.probe_at > rows.now():
        return []
    waiting = rows.take_held(hold.dependency, 1)
    for row in waiting:
        holds.begin_probe(hold, row.id)
        _go_on(row, f"Tries whether {hold.dependency} works again")
    return waiting


def _released(dependency: str) -> list[Row]:
    """As many as have become due since the last ones."""
    last = SagaHold.objects.filter(dependency=dependency).first()
    if last is None or last.ramped_at is None or last.per_second is None:
        return []
    pace = timedelta(seconds=1 / last.per_second)
    since = max(last.ramped_at, rows.now() - max(LONGEST_CATCH_UP, pace))
    due = min((rows.now() - since) // pace, options().sweep_batch_size)
    waiting = rows.take_held(dependency, due) if due else []
    for row in waiting:
        _go_on(row, f"{dependency} is no longer on hold")
    if due:
        SagaHold.objects.filter(pk=last.pk).update(ramped_at=since + due * pace)
    return waiting


def _go_on(row: Row, message: str) -> None:
    transitions.let_go(row, message)
    rows.save(row)
