"""For test suites: what stands in the way of emptying the tables between tests."""

from __future__ import annotations

from django.db import connection


def let_tests_empty_the_ledger() -> None:
    """Drop the triggers that forbid DELETE on SQLite, where a test database is emptied row by row.

    On PostgreSQL it is emptied by TRUNCATE, which the ledger's row triggers let pass.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for table in ("payments_ledgertransaction", "payments_ledgerentry"):
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_delete")
