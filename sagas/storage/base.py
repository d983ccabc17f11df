"""What the engine needs of the place where sagas are kept.

Three places exist: PostgreSQL, SQLite and memory. Rows are read under a lock and written by the holder of the lock, or
by a compare-and-set (`move`). All moments are UTC by the storage's own clock.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sagas.ids import uuid7
from sagas.machine.state import Event, Row
from sagas.statuses import Status


@dataclass(frozen=True, slots=True)
class Hold:
    """One time a dependency is or was on hold.

    `sagas.models.SagaHold` explains the fields; `id` is 0 until it is added.
    """

    dependency: str
    reason: str
    actor: str
    held_at: datetime
    id: int = 0
    is_automatic: bool = False
    probe_at: datetime | None = None
    probe_saga_id: uuid.UUID | None = None
    probes: int = 0
    released_at: datetime | None = None
    released_by: str = ""
    release_reason: str = ""
    per_second: float | None = None
    resumed_until: datetime | None = None

    def __str__(self) -> str:
        return f"{self.dependency} since {self.held_at:%d %b %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Failures:
    """How many calls of a dependency failed in a row, and since when; what the circuit breaker counts."""

    dependency: str
    in_a_row: int
    since: datetime


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A fact of a saga's history, with its number, the moment, and where the saga stood after the commit."""

    seq: int
    event: Event
    epoch: int
    position: int
    saga_status: Status
    created_at: datetime


class Storage(ABC):
    """Sagas, their histories, and the holds."""

    # -- transactions -------------------------------------------------------------------------------------------
    @abstractmethod
    def atomic(self) -> AbstractContextManager[object]:
        """A transaction, or a savepoint inside one: what an exception ends is undone, the step's effects included."""

    @abstractmethod
    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call this after the outermost transaction has committed; at once if there is none. Its errors are logged."""

    @property
    @abstractmethod
    def is_in_transaction(self) -> bool: ...

    @abstractmethod
    def try_lock(self, key: int) -> bool:
        """Hold this key until the transaction ends, if no other transaction does."""

    # -- clock and ids ------------------------------------------------------------------------------------------
    @abstractmethod
    def now(self) -> datetime: ...

    @abstractmethod
    def recent_now(self) -> datetime:
        """The clock without asking the server each time; a few milliseconds off, never used to compare two hosts."""

    def new_id(self) -> uuid.UUID:
        return uuid7()

    # -- sagas --------------------------------------------------------------------------------------------------
    @abstractmethod
    def read(self, saga_id: uuid.UUID) -> Row | None:
        """The saga's row as last committed, without a lock. None if there is none."""

    @abstractmethod
    def lock(self, saga_id: uuid.UUID) -> Row | None:
        """The saga's row, locked until the transaction ends. None if there is none."""

    @abstractmethod
    def find_by_key(self, key: str) -> Row | None: ...

    @abstractmethod
    def of_subject(self, subject: str) -> list[Row]:
        """All sagas about a subject, oldest first, without a lock."""

    @abstractmethod
    def events_of(self, saga_id: uuid.UUID) -> list[StoredEvent]:
        """The saga's history."""

    @abstractmethod
    def next_wake_at(self, *, except_held_by: Sequence[str] = ()) -> datetime | None:
        """When the next open saga is due; those held by one of these dependencies do not count."""

    @abstractmethod
    def insert(self, row: Row) -> bool:
        """Write a new saga with its pending events. False if its key is taken, and then nothing is written."""

    @abstractmethod
    def save(self, row: Row) -> None:
        """Write the row and append its pending events. The caller holds the row's lock."""

    @abstractmethod
    def move(self, row: Row, *, epoch: int, position: int) -> bool:
        """Like `save`, but without having locked: only if nothing happened to the row since it was read.

        `epoch` and `position` are those that were read. False means that the saga moved on; nothing is written then.
        """

    @abstractmethod
    def take_overdue(self, limit: int) -> list[Row]:
        """Up to `limit` rows whose `wake_at` has passed, oldest first, locked; rows that others hold are skipped."""

    @abstractmethod
    def take_retryable(self, limit: int) -> list[Row]:
        """Up to `limit` parked rows that are due to be retried automatically, locked; locked ones are skipped."""

    @abstractmethod
    def take_held(self, dependency: str, limit: int) -> list[Row]:
        """Up to `limit` rows held by `dependency`, those that wait longest first, locked; locked ones are skipped."""

    # -- holds --------------------------------------------------------------------------------------------------
    @abstractmethod
    def held_counts(self) -> dict[str, int]:
        """How many sagas wait, by the dependency they wait for, which may be on hold no longer."""

    @abstractmethod
    def active_holds(self) -> list[Hold]: ...

    @abstractmethod
    def active_hold(self, dependency: str, *, lock: bool = False) -> Hold | None: ...

    @abstractmethod
    def last_hold(self, dependency: str) -> Hold | None: ...

    @abstractmethod
    def add_hold(self, hold: Hold) -> Hold:
        """Write a hold; returns it with its id. A dependency has one active hold at most."""

    @abstractmethod
    def save_hold(self, hold: Hold) -> None: ...

    @abstractmethod
    def lock_failures(self, dependency: str) -> Failures:
        """The dependency's failures, locked: who may put it on hold holds this, so that it is put on hold once."""

    @abstractmethod
    def save_failures(self, failures: Failures) -> None: ...

    @abstractmethod
    def failing(self) -> frozenset[str]:
        """Dependencies whose last call failed."""

    # -- events -------------------------------------------------------------------------------------------------
    @abstractmethod
    def number_events(self, limit: int) -> None:
        """Give up to `limit` events that were never published their number in the publishing order of their subject.

        The caller holds the relay's lock, so that no number is given twice.
        """
