"""The product's tables, as a whole."""

from __future__ import annotations

from django.apps import apps
from django.core.management.color import no_style
from django.db import connection

APPS = ("sagas", "orders", "payments", "payments_sandbox", "timers")


def tables() -> list[str]:
    """Those of all rooms, by name."""
    return [model._meta.db_table for app in APPS for model in apps.get_app_config(app).get_models()]


def empty_tables() -> None:
    """Leave no row in them, past all triggers."""
    statements = connection.ops.sql_flush(no_style(), tables(), allow_cascade=True)
    connection.ops.execute_sql_flush(statements)


def let_tests_empty_the_ledger() -> None:
    """Drop the triggers that forbid DELETE on SQLite, where a test database is emptied row by row.

    On PostgreSQL it is emptied by TRUNCATE, which the ledger's row triggers allow.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for table in ("payments_ledgertransaction", "payments_ledgerentry"):
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_delete")
