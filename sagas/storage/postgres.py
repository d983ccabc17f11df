"""Sagas in PostgreSQL: row locks, advisory locks, and a move that is one statement."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import connection

from sagas.machine.state import Row
from sagas.storage.sql import EVENT_INSERT_INTO, EVENT_VALUES_TYPED, SqlStorage


class PostgresStorage(SqlStorage):
    CLOCK = "clock_timestamp()"
    FOR_UPDATE = " FOR UPDATE"
    FOR_UPDATE_SKIP_LOCKED = " FOR UPDATE SKIP LOCKED"

    def try_lock(self, key: int) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [key])
            return bool(cursor.fetchone()[0])

    def _id(self, value: uuid.UUID) -> Any:
        return value

    def _write(self, update: str, values: list[Any], row: Row, *, must_match: bool) -> bool:
        events = row.pending_events
        with connection.cursor() as cursor:
            if not events:
                cursor.execute(update, values)
                return bool(cursor.rowcount)
            appended = ", ".join([EVENT_VALUES_TYPED] * len(events))
            cursor.execute(
                f"WITH moved AS ({update} RETURNING 1) "  # noqa: S608 - constants only
                f"{EVENT_INSERT_INTO} SELECT event.* FROM moved, (VALUES {appended}) AS event",
                [*values, *self.event_values(row, row.seq - len(events) + 1)],
            )
            return bool(cursor.rowcount)
