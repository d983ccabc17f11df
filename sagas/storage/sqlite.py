"""Sagas in SQLite: no row locks, because transactions opened IMMEDIATE keep every other writer out."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import connection

from sagas.machine.state import Row
from sagas.storage.sql import SqlStorage


class SqliteStorage(SqlStorage):
    CLOCK = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"

    def try_lock(self, key: int) -> bool:
        return True  # there is one writer at a time anyway

    def _id(self, value: uuid.UUID) -> Any:
        return value.hex

    def _write(self, update: str, values: list[Any], row: Row, *, must_match: bool) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(update, values)
            if must_match and cursor.rowcount == 0:
                return False
            self.append(cursor, row, first_seq=row.seq - len(row.pending_events) + 1)
        return True
