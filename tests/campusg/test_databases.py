"""The options of the database connections."""

from __future__ import annotations

import sqlite3

import pytest
from django.conf import settings
from django.db import connection

pytestmark = pytest.mark.django_db


def ask(question: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0])


@pytest.mark.postgres
def test_django_speaks_to_postgresql_through_psycopg2() -> None:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    assert not is_psycopg3


@pytest.mark.postgres
def test_statements_and_locks_have_timeouts() -> None:
    assert ask("SHOW statement_timeout") == "30s"
    assert ask("SHOW lock_timeout") == "10s"
    assert ask("SHOW idle_in_transaction_session_timeout") == "1min"


@pytest.mark.embedded
@pytest.mark.django_db(transaction=True)
def test_sqlite_writes_ahead_and_takes_its_lock_at_once() -> None:
    assert ask("PRAGMA journal_mode") == "wal"
    with connection.cursor():
        other = sqlite3.connect(settings.DATABASES["default"]["NAME"], timeout=0)
    from django.db import transaction

    with transaction.atomic(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def test_connections_are_kept_and_checked() -> None:
    assert settings.DATABASES["default"]["CONN_MAX_AGE"] is None
    assert settings.DATABASES["default"]["CONN_HEALTH_CHECKS"]
    assert settings.CELERY_DB_REUSE_MAX > 1_000_000
