"""The sandbox is an app of its own, with its own tables. Production has neither.

Each test runs the real commands in processes, on a new database: SQLite or PostgreSQL, as in this environment.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
STRIPE_KEY = "sk_test_of_nobody"
LAST_SCHEMA_WITH_SANDBOX = "0003_append_only_ledger"
TABLES = {"sandbox_answer", "sandbox_fault", "sandbox_intent", "sandbox_refund", "sandbox_transfer"}
TABLE_NAMES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgres": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
}
ONE_FAULT = "INSERT INTO sandbox_fault (kind, operation, order_id, seconds, created_at) VALUES ('slow', '', '', 0, %s)"


@dataclass
class Installation:
    """A database and a data folder. `key` is the Stripe key of the process that is started."""

    var: Path
    url: str

    def manage(self, *arguments: str, key: str = "", expected: int = 0) -> str:
        ended = self.run(str(ROOT / "manage.py"), *arguments, key=key)
        assert ended.returncode == expected, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def python(self, code: str, *, key: str = "") -> str:
        ended = self.run("-c", code, key=key)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def run(self, *command: str, key: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "CAMPUSG_BOOTSTRAP": "0",
            "CAMPUSG_ENV_FILE": os.devnull,
            "CAMPUSG_VAR_DIR": str(self.var),
            "DATABASE_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "campusg.settings",
            "STRIPE_API_KEY": key,
        }
        return subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    def sandbox_tables(self) -> set[str]:
        names = TABLE_NAMES["sqlite" if self.is_sqlite else "postgres"]
        return {name for (name,) in self.execute(names) if name.startswith(("sandbox_", "payments_sandbox"))}

    def faults(self) -> int:
        return int(self.execute("SELECT count(*) FROM sandbox_fault")[0][0])

    def order_fault(self) -> None:
        moment = "2026-11-20 12:00:00+00:00"
        self.execute(ONE_FAULT.replace("%s", f"'{moment}'"))

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(self._connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return list(rows)

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")

    def _connect(self) -> Any:
        if self.is_sqlite:
            return sqlite3.connect(self.url.removeprefix("sqlite:///"))
        return psycopg2.connect(self.url)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    if settings.IS_SQLITE:
        yield Installation(tmp_path, f"sqlite:///{tmp_path / 'campusg.sqlite3'}")
        return
    given = settings.DATABASES["default"]
    server = f"postgres://{given['USER']}:{given['PASSWORD']}@{given['HOST']}:{given['PORT'] or 5432}"
    name = f"campusg_sandbox_{secrets.token_hex(4)}"
    administer(f"{server}/postgres", f"CREATE DATABASE {name}")
    try:
        yield Installation(tmp_path, f"{server}/{name}")
    finally:
        administer(f"{server}/postgres", f"DROP DATABASE {name} WITH (FORCE)")


def administer(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(statement)


def earlier_release(installation: Installation) -> None:
    """A database whose sandbox tables belong to `payments`, as migrations 0001 to 0003 made them."""
    installation.manage("migrate", "auth")  # first, because every migration ends with creating the roles
    installation.manage("migrate", "payments", LAST_SCHEMA_WITH_SANDBOX)
    assert installation.sandbox_tables() == TABLES


def test_a_new_trial_has_the_tables(installation: Installation) -> None:
    installation.manage("migrate")
    assert installation.sandbox_tables() == TABLES
    assert "No changes detected" in installation.manage("makemigrations", "--check", "--dry-run")
    installation.manage("check")


def test_a_new_production_has_no_sandbox_table(installation: Installation) -> None:
    installation.manage("migrate", key=STRIPE_KEY)
    assert installation.sandbox_tables() == set()
    assert "No changes detected" in installation.manage("makemigrations", "--check", "--dry-run", key=STRIPE_KEY)
    installation.manage("check", key=STRIPE_KEY)


def test_a_trial_of_an_earlier_release_keeps_its_rows(installation: Installation) -> None:
    earlier_release(installation)
    installation.order_fault()
    installation.manage("migrate")
    assert installation.sandbox_tables() == TABLES
    assert installation.faults() == 1
    installation.order_fault()  # as a process of the earlier release does during a deploy
    assert installation.faults() == 2


def test_a_production_of_an_earlier_release_loses_its_empty_tables(installation: Installation) -> None:
    earlier_release(installation)
    installation.manage("migrate", key=STRIPE_KEY)
    assert installation.sandbox_tables() == set()


def test_rows_of_a_trial_are_not_dropped_by_a_key(installation: Installation) -> None:
    earlier_release(installation)
    installation.order_fault()
    installation.manage("migrate", key=STRIPE_KEY)
    assert installation.sandbox_tables() == TABLES
    assert installation.faults() == 1


def test_a_key_set_later_leaves_the_tables_until_they_are_dropped_on_purpose(installation: Installation) -> None:
    installation.manage("migrate")
    installation.order_fault()
    installation.manage("migrate", key=STRIPE_KEY)
    assert installation.faults() == 1
    installation.manage("migrate", "payments_sandbox", "zero")  # without the key, as docs/how-to/real-payments.md says
    assert installation.sandbox_tables() == set()
    installation.manage("migrate", key=STRIPE_KEY)
    assert installation.sandbox_tables() == set()


def test_tables_left_by_an_earlier_release_are_dropped_in_the_same_way(installation: Installation) -> None:
    earlier_release(installation)
    installation.order_fault()
    installation.manage("migrate", key=STRIPE_KEY)
    installation.manage("migrate", "payments_sandbox")
    installation.manage("migrate", "payments_sandbox", "zero")
    assert installation.sandbox_tables() == set()


def test_a_key_unset_later_brings_the_tables(installation: Installation) -> None:
    installation.manage("migrate", key=STRIPE_KEY)
    installation.manage("migrate")
    assert installation.sandbox_tables() == TABLES
    installation.order_fault()
    assert installation.faults() == 1


@pytest.mark.parametrize("key", ["", STRIPE_KEY], ids=["trial", "production"])
def test_going_back_to_the_schema_of_an_earlier_release_keeps_rows_and_restores_tables(
    installation: Installation, key: str
) -> None:
    installation.manage("migrate", key=key)
    if not key:
        installation.order_fault()
    installation.manage("migrate", "payments", LAST_SCHEMA_WITH_SANDBOX, key=key)
    assert installation.sandbox_tables() == TABLES
    assert installation.faults() == (0 if key else 1)


SCHEMA = """
import django
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    for table in connection.introspection.table_names(cursor):
        if table.startswith("sandbox_"):
            print(table, *sorted(map(str, connection.introspection.get_table_description(cursor, table))), sep="\\n  ")
            found = connection.introspection.get_constraints(cursor, table)
            print(*sorted(f"{name} {sorted(details.items())}" for name, details in found.items()), sep="\\n  ")
"""


def test_adopted_tables_are_like_new_ones(installation: Installation) -> None:
    """No column, check or index may differ between an old installation and a new one."""
    earlier_release(installation)
    installation.manage("migrate")
    adopted = installation.python(SCHEMA)
    installation.manage("migrate", "payments_sandbox", "zero")
    installation.manage("migrate", "payments_sandbox")
    assert "sandbox_intent_newest" in adopted
    assert installation.python(SCHEMA) == adopted


PRODUCTION = """
import importlib, sys
from pathlib import Path
import django
django.setup()
from payments.gateways import current_gateway
from payments.services import check_payment_method

for path in sorted(Path("payments").rglob("*.py")):
    if not {"sandbox", "migrations"} & set(path.parts):
        importlib.import_module(".".join(path.with_suffix("").parts))
import campusg.urls, campusg.celery
campusg.celery.app.loader.import_default_modules()
current_gateway()
check_payment_method("pm_1")
print(*sorted(name for name in sys.modules if name.startswith("payments.sandbox")))
"""


def test_a_process_with_a_stripe_key_imports_nothing_of_the_sandbox(installation: Installation) -> None:
    installation.manage("migrate", key=STRIPE_KEY)
    assert installation.python(PRODUCTION, key=STRIPE_KEY).split() == []
    assert "payments.sandbox.client" in installation.python(PRODUCTION.replace("pm_1", "pm_card_visa")).split()
    assert "Unknown command" in installation.manage("sandbox_provider", key=STRIPE_KEY, expected=1)
