"""The fixture `saga_runner`, as a project gets it from the package's entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

TEST = """
import pytest
from django.db import transaction
import sagas
from sagas.testing import done, undone
from tests.sagas.elsewhere.bookings.sagas import Booking, book_seat

def book(seat):
    with transaction.atomic():
        return sagas.start(book_seat, input=Booking(seat), key=seat, subject=seat)

@pytest.mark.parametrize("again", [1, 2])
def test_a_saga_runs_when_the_runner_says_so(saga_runner, again):
    saga = book("1A")
    assert done(saga.id) == ["reserve_seat"]
    saga_runner.run_to_end()
    assert sagas.find(saga.id).status == "COMPLETED"

def test_who_does_not_ask_for_it_gets_no_database():
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        book("2B")
"""


def run(folder: Path, test: str, *arguments: str) -> str:
    (folder / "test_it.py").write_text(textwrap.dedent(test))
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ELSEWHERE_URLS": "tests.sagas.elsewhere.bare_urls",
        "DJANGO_SETTINGS_MODULE": "tests.sagas.elsewhere.settings",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "sagas.pytest_plugin", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    return done.stdout


def test_each_test_gets_a_runner_and_an_empty_database(tmp_path: Path) -> None:
    assert "3 passed" in run(tmp_path, TEST)


def test_a_project_without_django_is_left_alone(tmp_path: Path) -> None:
    """The plugin is loaded wherever the package is installed; it must import nothing then."""
    test = """
        import sys
        def test_nothing_is_imported():
            assert not {"celery", "kombu", "sagas.models", "sagas.testing"} & set(sys.modules)
    """
    assert "1 passed" in run(tmp_path, test, "-p", "no:django")
