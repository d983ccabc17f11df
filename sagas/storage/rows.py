"""The engine's own statements: fixed SQL for PostgreSQL and SQLite, and the only code that writes the saga tables.

The hot path is two statements a step: lock the row (with the database's clock), then move it and append its events.
PostgreSQL takes the second as one statement; SQLite, which runs in process, as two.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from sagas.machine.state import Event, Row
from sagas.models import Status
from sagas.storage import clock

_COLUMNS = (
    "id", "name", "version", "key", "subject", "owner", "status", "resume_status", "position", "epoch", "attempt",
    "drives", "seq", "data", "reason_code", "reason", "error", "lease_token", "lease_until", "wake_at", "deadline_at",
    "held_by", "held_since", "retry_at", "auto_retries", "created_at", "updated_at", "finished_at",
)  # fmt: skip
_MUTABLE = (
    "status", "resume_status", "position", "epoch", "attempt", "drives", "seq", "data", "reason_code", "reason",
    "error", "lease_token", "lease_until", "wake_at", "deadline_at", "held_by", "held_since", "retry_at",
    "auto_retries", "updated_at", "finished_at",
)  # fmt: skip
_EVENT_COLUMNS = (
    "saga_id", "seq", "action", "step", "status", "message", "type", "payload", "actor", "attempt", "epoch",
    "position", "saga_status", "created_at",
)  # fmt: skip
_DATETIMES = frozenset(
    {"lease_until", "wake_at", "deadline_at", "held_since", "retry_at", "created_at", "updated_at", "finished_at"}
)
_READ = tuple(name for name in _COLUMNS if name != "updated_at")

_SELECT = f"SELECT {', '.join(_READ)}"
_INSERT = (
    f"INSERT INTO sagas_sagainstance ({', '.join(_COLUMNS)}) "  # noqa: S608 - constants only
    f"VALUES ({', '.join(['%s'] * len(_COLUMNS))}) ON CONFLICT (key) DO NOTHING"
)
_UPDATE = f"UPDATE sagas_sagainstance SET {', '.join(f'{name}=%s' for name in _MUTABLE)} WHERE id=%s"  # noqa: S608
_UPDATE_IF = f"{_UPDATE} AND epoch=%s AND position=%s AND seq=%s AND lease_token IS NULL"
_EVENT_INSERT_INTO = f"INSERT INTO sagas_sagaevent ({', '.join(_EVENT_COLUMNS)})"
_EVENT_INSERT = f"{_EVENT_INSERT_INTO} VALUES "
_EVENT_VALUES = f"({', '.join(['%s'] * len(_EVENT_COLUMNS))})"

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
#: In a subquery a placeholder has no column to take its type from.
_EVENT_VALUES_TYPED = f"({', '.join('%s::jsonb' if name == 'payload' else '%s' for name in _EVENT_COLUMNS)})"

#: How old a reading of the database's clock may be before it is read again.
RESYNC_SECONDS = 10.0
_reading: tuple[datetime, float] | None = None


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def now() -> datetime:
    """The database's clock, in UTC, moved by a test's offset if there is one."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_clock()}", [])
        return _moment(cursor.fetchone()[0]) + clock.offset()


def recent_now() -> datetime:
    """The database's clock without asking it each time: read every few seconds, carried on by our own steady clock."""
    global _reading  # noqa: PLW0603 - one reading a process
    steady = time.monotonic()
    if _reading is None or steady - _reading[1] > RESYNC_SECONDS:
        _reading = (now() - clock.offset(), time.monotonic())
    moment, read_at = _reading
    return moment + timedelta(seconds=time.monotonic() - read_at) + clock.offset()


def lock(saga_id: uuid.UUID) -> Row | None:
    """The saga's row, locked until the transaction ends. None if there is none.

    SQLite has no row locks; its transactions are opened IMMEDIATE, which keeps every other writer out.
    """
    suffix = " FOR UPDATE" if is_postgresql() else ""
    sql = f"{_SELECT}, {_clock()} FROM sagas_sagainstance WHERE id=%s{suffix}"
    rows = _fetch(sql, [_uuid(saga_id)])
    return rows[0] if rows else None


def find_by_key(key: str) -> Row | None:
    rows = _fetch(f"{_SELECT}, {_clock()} FROM sagas_sagainstance WHERE key=%s", [key])
    return rows[0] if rows else None


def take_overdue(limit: int) -> list[Row]:
    """Up to `limit` rows whose `wake_at` has passed, oldest first, locked; rows that others hold are skipped."""
    suffix = " FOR UPDATE SKIP LOCKED" if is_postgresql() else ""
    sql = (
        f"{_SELECT}, {_clock()} FROM sagas_sagainstance WHERE wake_at IS NOT NULL AND wake_at <= %s "
        f"ORDER BY wake_at LIMIT %s{suffix}"
    )
    return _fetch(sql, [_adapt(now()), limit])


def take_retryable(limit: int) -> list[Row]:
    """Up to `limit` parked rows that are due to be retried by themselves, locked; locked ones are skipped."""
    suffix = " FOR UPDATE SKIP LOCKED" if is_postgresql() else ""
    sql = (
        f"{_SELECT}, {_clock()} FROM sagas_sagainstance WHERE retry_at IS NOT NULL AND retry_at <= %s AND status=%s "
        f"ORDER BY retry_at LIMIT %s{suffix}"
    )
    return _fetch(sql, [_adapt(now()), Status.NEEDS_ATTENTION.value, limit])


def held_dependencies() -> list[str]:
    """What sagas wait for that is, or was, on hold."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT held_by FROM sagas_sagainstance WHERE NOT (held_by = '') ORDER BY held_by", [])
        return [name for (name,) in cursor.fetchall()]


def take_held(dependency: str, limit: int) -> list[Row]:
    """Up to `limit` rows that wait for `dependency`, those that wait longest first, locked; locked ones are skipped."""
    suffix = " FOR UPDATE SKIP LOCKED" if is_postgresql() else ""
    sql = (
        f"{_SELECT}, {_clock()} FROM sagas_sagainstance WHERE held_by=%s AND NOT (held_by = '') "
        f"ORDER BY held_since LIMIT %s{suffix}"
    )
    return _fetch(sql, [dependency, limit])


def try_lock(key: int) -> bool:
    """Hold this key until the transaction ends, if nobody else does. SQLite has one writer at a time anyway."""
    if not is_postgresql():
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [key])
        return bool(cursor.fetchone()[0])


def number_events(limit: int) -> None:
    """Give up to `limit` events that were never published their number in the order of publishing of their subject.

    The caller holds the relay's lock, so that no number is given twice.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NUMBER_EVENTS, [limit])


def insert(row: Row) -> bool:
    """Write a new saga with its first events. False if its key is taken, and then nothing is written."""
    row.seq = len(row.news)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [_value(row, name) for name in _COLUMNS])
        if cursor.rowcount == 0:
            return False
        _append(cursor, row, row.news, first_seq=1)
    row.news = []
    return True


def save(row: Row) -> None:
    """Write the row and append its news. The caller holds the row's lock."""
    first_seq = row.seq + 1
    row.seq += len(row.news)
    update = [_value(row, name) for name in _MUTABLE] + [_uuid(row.id)]
    with connection.cursor() as cursor:
        if row.news and is_postgresql():
            events = _event_values(row, row.news, first_seq)
            values = ", ".join([_EVENT_VALUES] * len(row.news))
            cursor.execute(f"WITH moved AS ({_UPDATE}) {_EVENT_INSERT}{values}", [*update, *events])
        else:
            cursor.execute(_UPDATE, update)
            _append(cursor, row, row.news, first_seq)
    row.news = []


def move(row: Row, *, epoch: int, position: int) -> bool:
    """Like `save`, but without having locked: only if nothing happened to the row since it was read.

    One statement locks, checks and writes, which is what running ahead can afford because it knows the row. False
    means that the saga moved on, and nothing was written.
    """
    first_seq = row.seq + 1
    row.seq += len(row.news)
    update = [_value(row, name) for name in _MUTABLE] + [_uuid(row.id), epoch, position, first_seq - 1]
    with connection.cursor() as cursor:
        if is_postgresql():
            values = ", ".join([_EVENT_VALUES_TYPED] * len(row.news))
            cursor.execute(
                f"WITH moved AS ({_UPDATE_IF} RETURNING 1) "  # noqa: S608 - constants only
                f"{_EVENT_INSERT_INTO} SELECT event.* FROM moved, (VALUES {values}) AS event",
                [*update, *_event_values(row, row.news, first_seq)],
            )
        else:
            cursor.execute(_UPDATE_IF, update)
        if cursor.rowcount == 0:
            return False
        if not is_postgresql():
            _append(cursor, row, row.news, first_seq)
    row.news = []
    return True


def _append(cursor: Any, row: Row, events: Sequence[Event], first_seq: int) -> None:
    if events:
        values = ", ".join([_EVENT_VALUES] * len(events))
        cursor.execute(_EVENT_INSERT + values, _event_values(row, events, first_seq))


def _event_values(row: Row, events: Sequence[Event], first_seq: int) -> list[Any]:
    values: list[Any] = []
    for seq, event in enumerate(events, start=first_seq):
        values += (
            _uuid(row.id), seq, event.action.value, event.step, event.status, event.message, event.type,
            None if event.payload is None else json.dumps(event.payload), event.actor, event.attempt, row.epoch,
            row.position, row.status.value, _adapt(row.now),
        )  # fmt: skip
    return values


def _value(row: Row, name: str) -> Any:
    if name == "updated_at":
        return _adapt(row.now)
    value = getattr(row, name)
    if name == "data":
        return json.dumps(value)
    if name == "id":
        return _uuid(value)
    if name == "status":
        return value.value
    return _adapt(value) if name in _DATETIMES else value


def _fetch(sql: str, params: list[Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [_row(values) for values in cursor.fetchall()]


def _row(values: Sequence[Any]) -> Row:
    columns = dict(zip(_READ, values, strict=False))
    for name in _DATETIMES & columns.keys():
        columns[name] = _moment(columns[name]) if columns[name] is not None else None
    columns["id"] = uuid.UUID(str(columns["id"]))
    columns["status"] = Status(columns["status"])
    columns["data"] = json.loads(columns["data"])
    return Row(**columns, now=_moment(values[-1]) + clock.offset())


def _clock() -> str:
    return "clock_timestamp()" if is_postgresql() else "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"


def _uuid(value: uuid.UUID) -> Any:
    return value if is_postgresql() else value.hex


def _adapt(value: datetime | None) -> Any:
    return connection.ops.adapt_datetimefield_value(value) if value is not None else None


def _moment(value: Any) -> datetime:
    """PostgreSQL gives aware datetimes; SQLite gives text, always UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
