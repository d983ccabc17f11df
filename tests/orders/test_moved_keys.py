"""The stored answers moved from the app `orders` to `sagas`. The table and its rows stay as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(db: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a process with an empty database, on the server that this test run uses."""
    given = {"PATH": os.environ["PATH"], "CAMPUSG_VAR_DIR": str(tmp_path)}
    if settings.IS_SQLITE:
        yield given
        return
    server = connection.settings_dict
    name = f"{server['NAME']}_moved_keys"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    yield given | {
        "DATABASE_URL": f"postgres://{server['USER']}:{server['PASSWORD']}@{server['HOST']}:{server['PORT']}/{name}"
    }
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


def test_kept_answers_survive_and_both_releases_see_them(environment: dict[str, str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.orders.moved_keys"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == {
        "answer": {"order_id": "x"},
        "here": ["k1", "k2", "k3"],
        "there": ["k1", "k2", "k3"],
        "back": ["k1", "k2", "k3"],
    }
