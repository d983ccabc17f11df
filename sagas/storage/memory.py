"""Sagas in the memory of this process: for the model, the simulator and users' own tests. Nothing survives the process.

It behaves as the databases do, one transaction at a time: what is read is a copy, what an exception ends is undone, and
callbacks run after the commit. Steps that keep their effects in memory too can have them undone with `on_rollback`.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sagas.ids import uuid7
from sagas.machine.state import Row
from sagas.statuses import OPEN
from sagas.storage import clock
from sagas.storage.base import Failures, Hold, Storage, StoredEvent

logger = logging.getLogger("sagas")


class MemoryStorage(Storage):
    """`start` stops the clock at that moment, so that only `sagas.storage.clock.advance` moves it; `ids` mints ids."""

    def __init__(self, *, start: datetime | None = None, ids: Callable[[], uuid.UUID] = uuid7) -> None:
        self.rows: dict[uuid.UUID, Row] = {}
        self.events: dict[uuid.UUID, list[StoredEvent]] = {}
        self.holds: dict[int, Hold] = {}
        self.failures: dict[str, Failures] = {}
        self._start, self._ids = start, ids
        self._one_at_a_time = threading.RLock()
        self._depth = 0
        self._undo: list[Callable[[], object]] = []
        self._callbacks: list[Callable[[], object]] = []

    # -- transactions -------------------------------------------------------------------------------------------
    def atomic(self) -> AbstractContextManager[object]:
        return self._transaction()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._one_at_a_time:
            writes, callbacks = len(self._undo), len(self._callbacks)
            self._depth += 1
            try:
                yield
            except BaseException:
                self._roll_back(writes, callbacks)
                raise
            finally:
                self._depth -= 1
            due = self._commit() if self._depth == 0 else []
        for callback in due:
            _call(callback)

    def _roll_back(self, writes: int, callbacks: int) -> None:
        while len(self._undo) > writes:
            self._undo.pop()()
        del self._callbacks[callbacks:]

    def _commit(self) -> list[Callable[[], object]]:
        due, self._callbacks = self._callbacks, []
        self._undo.clear()
        return due

    def on_commit(self, callback: Callable[[], object]) -> None:
        if self._depth:
            self._callbacks.append(callback)
        else:
            _call(callback)

    def on_rollback(self, undo: Callable[[], object]) -> None:
        """Call this if the transaction, or the savepoint, that is open now is rolled back; the last one first."""
        if self._depth:
            self._undo.append(undo)

    @property
    def is_in_transaction(self) -> bool:
        return self._depth > 0

    def try_lock(self, key: int) -> bool:
        return True  # there is one transaction at a time anyway

    # -- clock and ids ------------------------------------------------------------------------------------------
    def now(self) -> datetime:
        return (self._start or datetime.now(UTC)) + clock.clock_offset()

    recent_now = now

    def new_id(self) -> uuid.UUID:
        return self._ids()

    # -- sagas --------------------------------------------------------------------------------------------------
    def read(self, saga_id: uuid.UUID) -> Row | None:
        row = self.rows.get(saga_id)
        return self._copy(row) if row is not None else None

    lock = read

    def find_by_key(self, key: str) -> Row | None:
        return next((self._copy(row) for row in self.rows.values() if row.key == key), None)

    def of_subject(self, subject: str) -> list[Row]:
        return [self._copy(row) for row in self.rows.values() if row.subject == subject]

    def events_of(self, saga_id: uuid.UUID) -> list[StoredEvent]:
        return list(self.events.get(saga_id, []))

    def next_wake_at(self, *, except_held_by: Sequence[str] = ()) -> datetime | None:
        due = [row.wake_at for row in self.rows.values() if row.status in OPEN and row.held_by not in except_held_by]
        return min((at for at in due if at is not None), default=None)

    def take_overdue(self, limit: int) -> list[Row]:
        now = self.now()
        return self._first(limit, lambda row: row.wake_at if row.wake_at and row.wake_at <= now else None)

    def take_retryable(self, limit: int) -> list[Row]:
        now = self.now()
        return self._first(limit, lambda row: row.retry_at if row.retry_at and row.retry_at <= now else None)

    def take_held(self, dependency: str, limit: int) -> list[Row]:
        return self._first(limit, lambda row: row.held_since if row.held_by == dependency else None)

    def _first(self, limit: int, moment: Callable[[Row], datetime | None]) -> list[Row]:
        """Copies of the rows that have such a moment, the earliest first."""
        found = [(at, row) for row in self.rows.values() if (at := moment(row)) is not None]
        return [self._copy(row) for _, row in sorted(found, key=lambda pair: pair[0])[:limit]]

    def _copy(self, row: Row) -> Row:
        return replace(row, data=copy.deepcopy(row.data), now=self.now(), pending_events=[])

    def insert(self, row: Row) -> bool:
        if any(known.key == row.key for known in self.rows.values()):
            return False
        self._keep(row)
        return True

    def save(self, row: Row) -> None:
        self._keep(row)

    def move(self, row: Row, *, epoch: int, position: int) -> bool:
        known = self.rows[row.id]
        if (known.epoch, known.position, known.seq, known.lease_token) != (epoch, position, row.seq, None):
            return False
        self._keep(row)
        return True

    def _keep(self, row: Row) -> None:
        before, history = self.rows.get(row.id), self.events.setdefault(row.id, [])
        known = len(history)
        self.on_rollback(lambda: self._put_back(row.id, before, known))
        for event in row.pending_events:
            row.seq += 1
            history.append(StoredEvent(row.seq, event, row.epoch, row.position, row.status, row.now))
        row.pending_events = []
        row.is_data_changed = False
        self.rows[row.id] = replace(row, data=json.loads(json.dumps(row.data)), pending_events=[])

    def _put_back(self, saga_id: uuid.UUID, before: Row | None, known: int) -> None:
        del self.events[saga_id][known:]
        if before is None:
            del self.rows[saga_id]
        else:
            self.rows[saga_id] = before

    # -- holds --------------------------------------------------------------------------------------------------
    def held_counts(self) -> dict[str, int]:
        return dict(sorted(Counter(row.held_by for row in self.rows.values() if row.held_by).items()))

    def active_holds(self) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.released_at is None]

    def active_hold(self, dependency: str, *, lock: bool = False) -> Hold | None:
        return next((hold for hold in self.active_holds() if hold.dependency == dependency), None)

    def last_hold(self, dependency: str) -> Hold | None:
        mine = [hold for hold in self.holds.values() if hold.dependency == dependency]
        return max(mine, key=lambda hold: (hold.held_at, hold.id), default=None)

    def add_hold(self, hold: Hold) -> Hold:
        if self.active_hold(hold.dependency) is not None:
            raise ValueError(f"{hold.dependency} is on hold already")
        added = replace(hold, id=max(self.holds, default=0) + 1)
        self._set(self.holds, added.id, added)
        return added

    def save_hold(self, hold: Hold) -> None:
        self._set(self.holds, hold.id, hold)

    def lock_failures(self, dependency: str) -> Failures:
        return self.failures.get(dependency) or Failures(dependency, 0, self.now())

    def save_failures(self, failures: Failures) -> None:
        self._set(self.failures, failures.dependency, failures)

    def failing(self) -> frozenset[str]:
        return frozenset(name for name, failures in self.failures.items() if failures.in_a_row)

    def _set(self, where: dict[Any, Any], key: Any, value: Any) -> None:
        before = where.get(key)
        self.on_rollback(lambda: where.pop(key, None) if before is None else where.__setitem__(key, before))
        where[key] = value

    # -- events -------------------------------------------------------------------------------------------------
    def number_events(self, limit: int) -> None:
        """Nothing: no relay publishes from memory."""


def _call(callback: Callable[[], object]) -> None:
    """As Django does with a robust callback: its error is logged and keeps nobody from the others."""
    try:
        callback()
    except Exception:
        logger.exception("A callback after the commit failed", extra={"action": "on_commit_failed"})
