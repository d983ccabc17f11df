"""The engine alone: every command works in a project that has nothing else installed and sets nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT = (
    "rest_framework", "django_filters", "drf_spectacular", "unfold", "knox", "structlog", "django_structlog", "environ",
    "redis", "stripe", "psycopg2", "psycopg", "django_celery_beat", "pytest", "channels",
)  # fmt: skip

PROJECT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
import dataclasses
from django.core.management import CommandError, call_command
from django.db import transaction
import sagas
from sagas import embedded

@dataclasses.dataclass
class Trip:
    seat: str

def reserve(*, seat: str) -> None: ...
def free(*, seat: str) -> None: ...
def issue(*, seat: str, idempotency_key: str) -> None:
    raise sagas.Refusal("Sold out.")

trip = sagas.Saga("trip", takes=Trip).step(reserve, compensate=free).pivot(issue, remote=True, uses="airline")
sagas.register(trip)
embedded.configure(sys.argv[2])
with embedded.running(), transaction.atomic():
    saga = sagas.start(trip, input=Trip("12A"), key="one", subject="12A")
with embedded.running():
    embedded.wait_for(saga.id)
for line in sys.argv[3:]:
    print("##", line, flush=True)
    try:
        call_command(*line.replace("SAGA_ID", str(saga.id)).split(), stdout=sys.stdout)
    except CommandError as error:
        print("CommandError:", error)
"""
COMMANDS = [
    "check", "sagas definitions", "sagas list", "sagas list --json", "sagas show trip", "sagas show SAGA_ID",
    "sagas holds", "sagas hold airline --reason=strike", "sagas release airline", "sagas backlog", "sagas deploycheck",
    "sagas cancel SAGA_ID --reason=x", "sagas retry SAGA_ID --reason=x", "verify",
]  # fmt: skip


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("alone")
    run = subprocess.run(
        [sys.executable, "-c", PROJECT, ",".join(WITHOUT), "alone.sqlite3", *COMMANDS],
        cwd=folder, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    parts = run.stdout.split("## ")[1:]
    return dict(part.split("\n", 1) for part in parts)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("check", "System check identified no issues"),
        ("sagas definitions", "trip v1: 2 steps"),
        ("sagas list", "COMPENSATED"),
        ("sagas list --json", '"status": "COMPENSATED"'),
        ("sagas show trip", "trip v1: takes Trip, 5 min until the pivot"),
        ("sagas show SAGA_ID", "Free completed"),
        ("sagas holds", "airline          not on hold, 0 sagas wait"),
        ("sagas hold airline --reason=strike", "airline is on hold."),
        ("sagas release airline", "airline is released"),
        ("sagas backlog", "Publishing is off"),
        ("sagas deploycheck", "Every saga in the database can go on with this code."),
        ("sagas cancel SAGA_ID --reason=x", "CommandError: The saga is COMPENSATED."),
        ("sagas retry SAGA_ID --reason=x", "CommandError: The saga is COMPENSATED."),
        ("verify", "All 8 invariants hold"),
    ],
)
def test_every_command_works(printed: dict[str, str], command: str, says: str) -> None:
    assert says in printed[command]


def test_verify_judges_the_engines_own_invariants_only(printed: dict[str, str]) -> None:
    codes = {line.split()[0] for line in printed["verify"].splitlines() if line.startswith("I")}
    assert codes == {"I7", "I8", "I9", "I11"}


def test_a_project_without_a_celery_app_is_reported(tmp_path: Path) -> None:
    script = """
import django
from django.conf import settings
from django.core.management import call_command
settings.configure(
    INSTALLED_APPS=["sagas"], SAGAS={"STAL": 1},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x.sqlite3"}},
)
django.setup()
call_command("check")
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert [code for code in ("E013", "E014", "W003") if f"(sagas.{code})" not in run.stderr] == []
