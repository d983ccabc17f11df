"""The tables of the test database, as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection

APPS = ("sagas", "orders", "payments", "payments_sandbox", "timers")
#: Filled by migrations: every test finds the same rows. Each table's rows refer only to tables before it.
PREFILLED_TABLES = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")

#: By table: each row, by its id.
Rows = Mapping[str, Mapping[int, tuple[Any, ...]]]


def tables() -> list[str]:
    """Those of the product's apps, by name."""
    return [model._meta.db_table for app in APPS for model in apps.get_app_config(app).get_models()]


def empty_tables(names: Iterable[str] | None = None) -> None:
    """Leave no row in these tables (default: the product's), past all triggers."""
    # TRUNCATE makes a new file for a table that was empty before, too: it takes PostgreSQL a millisecond each.
    if filled := _filled(tables() if names is None else names):
        statements = connection.ops.sql_flush(no_style(), filled, allow_cascade=True)
        connection.ops.execute_sql_flush(statements)


def _filled(names: Iterable[str]) -> list[str]:
    """Those of the tables that have rows."""
    questions = [f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in names]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(questions))
        return [name for (name,) in cursor.fetchall()]


class Prefilled:
    """What migrations wrote. `restore` leaves those rows and no other in the database.

    Django's `flush` empties these tables too and fills them again, which takes longer than most tests.
    """

    def __init__(self) -> None:
        self.rows = prefilled_rows()
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        self.others = sorted(set(names) - set(PREFILLED_TABLES))

    def restore(self) -> None:
        empty_tables(self.others)
        found = prefilled_rows()
        if found != self.rows:
            self._delete_new_rows(found)
        if prefilled_rows() != self.rows:
            call_command("flush", interactive=False, verbosity=0)
            self.rows = prefilled_rows()

    def _delete_new_rows(self, found: Rows) -> None:
        with connection.cursor() as cursor:
            for table in reversed(PREFILLED_TABLES):
                for number in set(found[table]) - set(self.rows[table]):
                    cursor.execute(f"DELETE FROM {table} WHERE id = %s", [number])


def prefilled_rows() -> Rows:
    found: dict[str, dict[int, tuple[Any, ...]]] = {}
    with connection.cursor() as cursor:
        for table in PREFILLED_TABLES:
            cursor.execute(f"SELECT * FROM {table}")
            found[table] = {row[0]: row for row in cursor.fetchall()}
    return found


def let_tests_empty_the_ledger() -> None:
    """Drop the triggers that forbid DELETE on SQLite, where a test database is emptied row by row.

    On PostgreSQL it is emptied by TRUNCATE, which the ledger's row triggers allow.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for table in ("payments_ledgertransaction", "payments_ledgerentry"):
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_delete")
