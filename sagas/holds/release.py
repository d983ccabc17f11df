"""Sagas that waited for a dependency go on: one to probe whether it works again, or so many a second after a release.

Part of the sweep. What is lost on the way is found by the next one: a saga that was sent on has `wake_at`, and one that
was not still names what it waits for.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import NoneType

from sagas.conf import options
from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.failpoints import Failpoint, reach
from sagas.holds import holds
from sagas.machine.decisions import Machine
from sagas.machine.state import Row
from sagas.storage import Hold, storage

#: Key of the PostgreSQL advisory lock that keeps releases apart.
RELEASE_LOCK = 7_240_429
#: After a pause of the sweep no more sagas go on at once than in this much time.
LONGEST_CATCH_UP = timedelta(seconds=10)


def resume_held() -> list[Row]:
    """Send those on whose turn it is; returns the rows to dispatch."""
    waited_for = storage().held_counts()
    if not waited_for:
        return []
    with storage().atomic():
        is_alone = storage().try_lock(RELEASE_LOCK)
        resumed = [row for dependency in waited_for for row in _next(dependency)] if is_alone else []
    reach(Failpoint.RESUME_COMMITTED)
    return resumed


def _next(dependency: str) -> list[Row]:
    hold = storage().active_hold(dependency)
    return _probing(hold) if hold is not None else _released(dependency)


def _probing(hold: Hold) -> list[Row]:
    """One saga, if it is time to try again."""
    if hold.probe_at is None or hold.probe_at > storage().now():
        return []
    rows = storage().take_held(hold.dependency, 1)
    for row in rows:
        holds.begin_probe(hold, row.id)
    return _resumed(rows, f"Probes whether {hold.dependency} works again")


def _released(dependency: str) -> list[Row]:
    """As many as have become due since the last ones."""
    last = storage().last_hold(dependency)
    if last is None or last.resumed_until is None or last.per_second is None:
        return []
    now, pace = storage().now(), timedelta(seconds=1 / last.per_second)
    since = max(last.resumed_until, now - max(LONGEST_CATCH_UP, pace))
    due = min((now - since) // pace, options().sweep_batch_size)
    if not due:
        return []
    storage().save_hold(replace(last, resumed_until=since + due * pace))
    return _resumed(storage().take_held(dependency, due), f"{dependency} is no longer on hold")


def _resumed(rows: list[Row], message: str) -> list[Row]:
    """End their hold. Those of a definition that this process does not know are dispatched by one that does."""
    for row in rows:
        # A hold ends alike for every definition.
        saga = registry.find(row.name, row.version) or Saga(row.name, takes=NoneType)
        Machine(saga, options()).resume_held(row, message)
        storage().save(row)
    return [row for row in rows if registry.find(row.name, row.version)]
