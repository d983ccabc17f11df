"""Which tests `manage.py test --quick` runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests import selection
from tests.options import Options

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("changed", "paths"),
    [
        (["sagas/engine/sweep.py"], ["tests"]),
        (["timers/models.py"], ["tests/campusg", "tests/orders", "tests/stories", "tests/timers"]),
        (["campusg/health.py"], ["tests/campusg", "tests/stories"]),
        (["tests/sagas/test_engine.py"], ["tests/sagas/test_engine.py"]),
        (["tests/orders/builders.py"], ["tests/orders"]),
        (["tests/harness/proxy.py"], ["tests"]),
        (["docs/how-to/runbook.md"], ["tests/campusg/test_configuration.py", "tests/test_documents.py"]),
        (
            ["benchmarks/races.py", "timers/tasks.py"],
            ["tests/campusg", "tests/orders", "tests/stories", "tests/timers"],
        ),
        (["pyproject.toml", "docs/how-to/runbook.md"], ["tests"]),
        (["tests/orders/test_that_was_deleted.py"], ["tests"]),
        ([], ["tests"]),
    ],
)
def test_a_change_is_followed_by_its_own_tests_and_those_of_the_apps_that_import_it(changed, paths) -> None:
    assert selection.tests_for(changed, ROOT) == paths


def test_every_app_has_tests() -> None:
    apps = {path.parent.name for path in ROOT.glob("*/apps.py")}
    assert apps <= set(selection.TESTS_OF)
    assert all((ROOT / path).exists() for paths in selection.TESTS_OF.values() for path in paths)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A branch with a committed, an uncommitted and a new file, beside a `main` that went on."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    script = """
        git init -q -b main && git config user.email a@b && git config user.name a
        mkdir -p tests && touch tests/test_a.py tests/test_b.py && git add . && git commit -qm begin
        git switch -qc work && mkdir timers && touch timers/models.py && git add . && git commit -qm change
        echo 1 > tests/test_a.py && touch tests/test_new.py
        git stash -q -u && git switch -q main && touch payments.py && git add . && git commit -qm elsewhere
        git switch -q work && git stash pop -q
    """
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True)
    return tmp_path


def test_what_changed_is_what_is_not_in_main_yet(repository: Path) -> None:
    assert selection.changed_files(repository) == ["tests/test_a.py", "tests/test_new.py", "timers/models.py"]


def test_outside_of_a_repository_nothing_has_changed(tmp_path: Path) -> None:
    assert selection.changed_files(tmp_path) == []


def test_slow_tests_are_left_out_unless_their_file_has_changed(repository: Path) -> None:
    subprocess.run(["git", "rm", "-q", "timers/models.py"], cwd=repository, check=True)
    narrowed, _ = selection.narrow(Options(arguments=["-x"]), repository)
    files = ["tests/test_a.py", "tests/test_new.py"]
    assert narrowed.arguments == ["--without-slow", *(f"--slow-from={file}" for file in files), "-x", *files]


def test_given_paths_are_not_added_to() -> None:
    narrowed, _ = selection.narrow(Options(arguments=["tests/sagas"]), ROOT)
    assert narrowed.arguments == ["--without-slow", "tests/sagas"]


def test_the_slow_tests_of_a_given_file_run() -> None:
    narrowed, _ = selection.narrow(Options(arguments=["tests/sagas/test_engine.py::test_x"]), ROOT)
    assert narrowed.arguments[1:] == ["--slow-from=tests/sagas/test_engine.py", "tests/sagas/test_engine.py::test_x"]
