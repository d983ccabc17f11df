"""The engine's own statements: fixed SQL, and the only code that writes the saga tables.

The hot path is two statements a step: lock the row (with the database's clock), then move it and append its events. A
statement writes only the groups of columns that changed. What PostgreSQL and SQLite say differently is in their
modules.
"""

from __future__ import annotations

import json
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.db import connection, transaction

from sagas.machine.state import Event, Row
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import OPEN, Action, Direction, Phase, Status
from sagas.storage import clock, legacy
from sagas.storage.base import StoredEvent
from sagas.storage.holds import HoldTables

#: Written with every move.
_MOVING = (
    "position", "attempt", "dispatches", "seq", "state_seq", "phase", "may_have_run", "lease_token", "lease_until",
    "wake_at", "error", "updated_at",
)  # fmt: skip
#: Written only when one of them changed.
_SETTLED = (
    "status", "direction", "resume_status", "epoch", "reason_code", "reason", "actor", "cancel_key", "deadline_at",
    "held_by", "held_since", "retry_at", "auto_retries", "finished_at",
)  # fmt: skip
_IDENTITY = ("id", "name", "version", "key", "subject", "owner", "created_at")
_COLUMNS = (*_IDENTITY, "data", *_MOVING, *_SETTLED)
_READ = tuple(name for name in _COLUMNS if name != "updated_at")
#: Columns whose names differ from the row's fields, as the release before wrote them.
_NAMED = {"dispatches": "drives"}
_EVENT_COLUMNS = (
    "saga_id", "seq", "action", "step", "status", "message", "type", "payload", "actor", "attempt", "epoch",
    "position", "saga_status", "created_at",
)  # fmt: skip
_DATETIMES = frozenset(
    {"lease_until", "wake_at", "deadline_at", "held_since", "retry_at", "created_at", "updated_at", "finished_at"}
)
_WORDS = frozenset({"status", "direction", "phase"})
#: How old a reading of the database's clock may be before it is read again.
RESYNC_SECONDS = 10.0


def _column(name: str) -> str:
    return _NAMED.get(name, name)


def _assignments(names: Sequence[str]) -> str:
    return ", ".join(f"{_column(name)}=%s" for name in names)


_LIST = ", ".join(_column(name) for name in _READ)
_INSERT = (
    f"INSERT INTO sagas_sagainstance ({', '.join(_column(name) for name in _COLUMNS)}) "  # noqa: S608 - constants only
    f"VALUES ({', '.join(['%s'] * len(_COLUMNS))}) ON CONFLICT (key) DO NOTHING"
)
#: Which columns an UPDATE writes, by (did the data change, did a settled column change).
_WRITTEN: dict[tuple[bool, bool], tuple[str, ...]] = {
    (False, False): _MOVING,
    (True, False): (*_MOVING, "data"),
    (False, True): (*_MOVING, *_SETTLED),
    (True, True): (*_MOVING, *_SETTLED, "data"),
}
_UPDATES = {
    changed: f"UPDATE sagas_sagainstance SET {_assignments(names)} WHERE id=%s"  # noqa: S608 - constants only
    for changed, names in _WRITTEN.items()
}
_IF_UNMOVED = " AND epoch=%s AND position=%s AND seq=%s AND lease_token IS NULL"
EVENT_INSERT_INTO = f"INSERT INTO sagas_sagaevent ({', '.join(_EVENT_COLUMNS)})"
EVENT_VALUES = f"({', '.join(['%s'] * len(_EVENT_COLUMNS))})"
#: In a subquery a placeholder has no column to take its type from.
EVENT_VALUES_TYPED = f"({', '.join('%s::jsonb' if name == 'payload' else '%s' for name in _EVENT_COLUMNS)})"

#: Numbers new events of each subject on from the subject's last, in the order of their rows.
_NUMBER_EVENTS = """
    WITH fresh AS (
        SELECT event.id, saga.subject
        FROM sagas_sagaevent AS event JOIN sagas_sagainstance AS saga ON saga.id = event.saga_id
        WHERE event.published_at IS NULL AND event.type <> '' AND event.subject_sequence IS NULL
        ORDER BY event.id LIMIT %s
    ), last AS (
        SELECT saga.subject, MAX(event.subject_sequence) AS number
        FROM sagas_sagainstance AS saga JOIN sagas_sagaevent AS event ON event.saga_id = saga.id
        WHERE saga.subject IN (SELECT subject FROM fresh) GROUP BY saga.subject
    ), numbered AS (
        SELECT fresh.id, COALESCE(last.number, 0)
            + ROW_NUMBER() OVER (PARTITION BY fresh.subject ORDER BY fresh.id) AS number
        FROM fresh JOIN last ON last.subject = fresh.subject
    )
    UPDATE sagas_sagaevent SET subject_sequence = numbered.number FROM numbered
    WHERE sagas_sagaevent.id = numbered.id
"""


class SqlStorage(HoldTables):
    """What both databases say alike."""

    #: The database's clock as an expression; what a locking SELECT ends with; and one that passes locked rows over.
    CLOCK: ClassVar[str]
    FOR_UPDATE: ClassVar[str] = ""
    FOR_UPDATE_SKIP_LOCKED: ClassVar[str] = ""

    def __init__(self) -> None:
        self._reading: tuple[datetime, float] | None = None

    # -- what the databases say differently ---------------------------------------------------------------------
    @abstractmethod
    def _id(self, value: uuid.UUID) -> Any:
        """A UUID as a parameter."""

    @abstractmethod
    def _write(self, update: str, values: list[Any], row: Row, *, must_match: bool) -> bool:
        """Execute an UPDATE and append the row's pending events. False if it matched no row, and then nothing is
        written; only a `must_match` UPDATE is checked."""

    # -- transactions -------------------------------------------------------------------------------------------
    def atomic(self) -> AbstractContextManager[object]:
        return transaction.atomic()

    def on_commit(self, callback: Callable[[], object]) -> None:
        transaction.on_commit(callback, robust=True)

    @property
    def is_in_transaction(self) -> bool:
        return bool(connection.in_atomic_block)

    # -- clock --------------------------------------------------------------------------------------------------
    def now(self) -> datetime:
        """The database's clock, in UTC, moved by a test's offset if there is one."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {self.CLOCK}", [])
            return moment(cursor.fetchone()[0]) + clock.clock_offset()

    def recent_now(self) -> datetime:
        """The database's clock, read every few seconds and carried on by this process's steady clock."""
        steady = time.monotonic()
        if self._reading is None or steady - self._reading[1] > RESYNC_SECONDS:
            self._reading = (self.now() - clock.clock_offset(), time.monotonic())
        read, read_at = self._reading
        return read + timedelta(seconds=time.monotonic() - read_at) + clock.clock_offset()

    # -- reading ------------------------------------------------------------------------------------------------
    def read(self, saga_id: uuid.UUID) -> Row | None:
        return _first(self._rows("id=%s", [self._id(saga_id)]))

    def lock(self, saga_id: uuid.UUID) -> Row | None:
        return _first(self._rows(f"id=%s{self.FOR_UPDATE}", [self._id(saga_id)]))

    def find_by_key(self, key: str) -> Row | None:
        return _first(self._rows("key=%s", [key]))

    def of_subject(self, subject: str) -> list[Row]:
        return self._rows("subject=%s ORDER BY id", [subject])

    def events_of(self, saga_id: uuid.UUID) -> list[StoredEvent]:
        return [_stored_event(row) for row in SagaEvent.objects.filter(saga_id=saga_id).order_by("seq")]

    def next_wake_at(self, *, except_held_by: Sequence[str] = ()) -> datetime | None:
        due = SagaInstance.objects.filter(status__in=OPEN).exclude(held_by__in=except_held_by)
        return due.order_by("wake_at").values_list("wake_at", flat=True).first()

    def take_overdue(self, limit: int) -> list[Row]:
        due = f"wake_at IS NOT NULL AND wake_at <= %s ORDER BY wake_at LIMIT %s{self.FOR_UPDATE_SKIP_LOCKED}"
        return self._rows(due, [adapt(self.now()), limit])

    def take_retryable(self, limit: int) -> list[Row]:
        due = "retry_at IS NOT NULL AND retry_at <= %s AND status=%s ORDER BY retry_at LIMIT %s"
        parameters = [adapt(self.now()), Status.NEEDS_ATTENTION.value, limit]
        return self._rows(due + self.FOR_UPDATE_SKIP_LOCKED, parameters)

    def take_held(self, dependency: str, limit: int) -> list[Row]:
        waiting = "held_by=%s AND NOT (held_by = '') ORDER BY held_since LIMIT %s"
        return self._rows(waiting + self.FOR_UPDATE_SKIP_LOCKED, [dependency, limit])

    def _rows(self, condition: str, parameters: list[Any]) -> list[Row]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {_LIST}, {self.CLOCK} FROM sagas_sagainstance WHERE {condition}", parameters)  # noqa: S608
            return [self._row(values) for values in cursor.fetchall()]

    def _row(self, values: Sequence[Any]) -> Row:
        columns = dict(zip(_READ, values, strict=False))
        for name in _DATETIMES & columns.keys():
            columns[name] = moment(columns[name]) if columns[name] is not None else None
        state_seq = columns.pop("state_seq")
        columns |= {
            "id": uuid.UUID(str(columns["id"])), "status": Status(columns["status"]),
            "direction": Direction(columns["direction"]), "phase": Phase(columns["phase"]),
            "may_have_run": bool(columns["may_have_run"]), "data": json.loads(columns["data"]),
        }  # fmt: skip
        row = Row(**columns, now=moment(values[-1]) + clock.clock_offset())
        is_current = state_seq == row.seq
        legacy.complete(row, is_current=is_current)
        if is_current:
            row.stored = _settled(row)
        elif Status.CANCELLING in (row.status, row.resume_status):
            row.actor = _cancelled_by(row.id)
        return row

    # -- writing ------------------------------------------------------------------------------------------------
    def insert(self, row: Row) -> bool:
        row.seq = len(row.pending_events)
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, [self._value(row, name) for name in _COLUMNS])
            if cursor.rowcount == 0:
                row.seq = 0
                return False
            self.append(cursor, row, first_seq=1)
        _written(row)
        return True

    def save(self, row: Row) -> None:
        update, values = self._update(row)
        self._write(update, values, row, must_match=False)
        _written(row)

    def move(self, row: Row, *, epoch: int, position: int) -> bool:
        read_seq = row.seq
        update, values = self._update(row)
        is_moved = self._write(update + _IF_UNMOVED, [*values, epoch, position, read_seq], row, must_match=True)
        if is_moved:
            _written(row)
        return is_moved

    def _update(self, row: Row) -> tuple[str, list[Any]]:
        """The UPDATE that writes what changed, with its values; the row's `seq` becomes that of its last event."""
        row.seq += len(row.pending_events)
        is_settled_changed = row.stored != _settled(row)
        has_legacy_keys = is_settled_changed and legacy.data(row) is not row.data
        changed = (row.is_data_changed or has_legacy_keys, is_settled_changed)
        return _UPDATES[changed], [*(self._value(row, name) for name in _WRITTEN[changed]), self._id(row.id)]

    def append(self, cursor: Any, row: Row, *, first_seq: int) -> None:
        if row.pending_events:
            values = ", ".join([EVENT_VALUES] * len(row.pending_events))
            cursor.execute(f"{EVENT_INSERT_INTO} VALUES {values}", self.event_values(row, first_seq))

    def event_values(self, row: Row, first_seq: int) -> list[Any]:
        """The parameters of the row's pending events, one after the other, in the order of the columns."""
        values: list[Any] = []
        for seq, event in enumerate(row.pending_events, start=first_seq):
            values += self._event(row, seq, event)
        return values

    def _event(self, row: Row, seq: int, event: Event) -> tuple[Any, ...]:
        return (
            self._id(row.id), seq, event.action.value, event.step, event.status, event.message, event.type,
            None if event.payload is None else json.dumps(event.payload), event.actor, event.attempt, row.epoch,
            row.position, row.status.value, adapt(row.now),
        )  # fmt: skip

    def _value(self, row: Row, name: str) -> Any:
        if name == "data":
            return json.dumps(legacy.data(row))
        if name == "id":
            return self._id(row.id)
        if name == "state_seq":
            return row.seq
        if name in _DATETIMES:
            return adapt(row.now if name == "updated_at" else getattr(row, name))
        value: Any = getattr(row, name)
        return value.value if name in _WORDS else value

    # -- events -------------------------------------------------------------------------------------------------
    def number_events(self, limit: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_NUMBER_EVENTS, [limit])


def _stored_event(row: SagaEvent) -> StoredEvent:
    event = Event(
        Action(row.action), row.step, row.status, row.message, row.type, row.payload, row.actor, row.attempt
    )  # fmt: skip
    return StoredEvent(row.seq, event, row.epoch, row.position, Status(row.saga_status), row.created_at)


def _cancelled_by(saga_id: uuid.UUID) -> str:
    asked = SagaEvent.objects.filter(saga_id=saga_id, action=Action.CANCELLATION_STARTED).order_by("seq")
    return asked.values_list("actor", flat=True).first() or ""


def _settled(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in _SETTLED)


def _written(row: Row) -> None:
    row.pending_events = []
    row.stored, row.is_data_changed = _settled(row), False


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None


def adapt(value: datetime | None) -> Any:
    return connection.ops.adapt_datetimefield_value(value) if value is not None else None


def moment(value: Any) -> datetime:
    """PostgreSQL gives aware datetimes; SQLite gives text, always UTC."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
