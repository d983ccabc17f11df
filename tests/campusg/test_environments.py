"""What `manage.py test` runs, prints and returns."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import environments, options, plugin
from tests.environments import Environment
from tests.options import WORKERS, Options

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ("campusg", "orders", "payments", "timers", "sagas")


def environment(name: str, exit_code: int = 0, **counts: int) -> Environment:
    return Environment(name, counts=Counter(counts), exit_code=exit_code)


# -- the result -----------------------------------------------------------------------------------------------------
def test_the_last_line_adds_the_environments_up(capsys) -> None:
    both = [environment("embedded", passed=3, failed=0), environment("servers", passed=4, failed=0)]
    assert environments.conclude(both, []) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "7 passed, 0 failed"


def test_skipped_tests_are_counted(capsys) -> None:
    environments.conclude([environment("embedded", passed=3, skipped=2)], [])
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 0 failed, 2 skipped"


def test_one_failure_anywhere_fails() -> None:
    both = [environment("embedded", passed=3), environment("servers", exit_code=1, passed=3, failed=1)]
    assert environments.conclude(both, []) == 1


def test_the_names_of_failed_tests_are_printed_at_the_end(capsys) -> None:
    failed = environment("embedded", exit_code=1, failed=1)
    failed.failures.append("tests/orders/test_menu.py::test_it")
    environments.conclude([failed, environment("servers", passed=1)], [])
    assert capsys.readouterr().out.splitlines()[-4:-3] == ["FAILED in embedded: tests/orders/test_menu.py::test_it"]


def test_a_missing_server_fails_where_it_is_required(capsys) -> None:
    assert environments.conclude([environment("embedded", passed=3)], ["redis: redis-server is not installed"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 1 failed"


def test_a_selection_that_is_empty_in_one_environment_is_fine() -> None:
    assert environments.conclude([environment("embedded", exit_code=5), environment("servers", passed=1)], []) == 0


def test_a_selection_that_is_empty_everywhere_is_not() -> None:
    both = [environment("embedded", exit_code=5), environment("servers", exit_code=5)]
    assert environments.conclude(both, []) == environments.NOTHING_COLLECTED


# -- the processes --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["DATABASE_URL", "BROKER_URL", "REDIS_URL", "STRIPE_API_KEY", "CAMPUSG_HTTPS"])
def test_the_settings_of_a_running_installation_do_not_leak_into_tests(name: str, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(name, "production")
    assert Environment("embedded").variables(tmp_path).get(name) != "production"


def test_the_settings_name_the_servers_of_the_environment(tmp_path) -> None:
    urls = {"postgres": "postgres://x", "redis": "redis://y"}
    variables = Environment("servers", urls=urls).variables(tmp_path)
    assert (variables["DATABASE_URL"], variables["REDIS_URL"]) == ("postgres://x", "redis://y")


def test_each_worker_has_its_own_share_of_the_servers() -> None:
    given = {
        "CAMPUSG_VAR_DIR": "/run/var",
        "DATABASE_URL": "postgres://postgres@127.0.0.1:1/postgres",
        "BROKER_URL": "amqp://guest:guest@127.0.0.1:2//",
        "REDIS_URL": "redis://127.0.0.1:3/0",
    }
    assert plugin.share_of("gw5", given) == {
        "CAMPUSG_VAR_DIR": "/run/var/gw5",
        "BROKER_URL": "amqp://guest:guest@127.0.0.1:2/gw5",
        "REDIS_URL": "redis://127.0.0.1:3/5",
    }


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_report_has_the_counts_and_the_failures_of_all_workers(workers: str, tmp_path: Path) -> None:
    tests = """
import pytest

def test_good(): pass

def test_bad(): assert 0

@pytest.mark.slow
def test_slow(): pass
"""
    (tmp_path / "test_it.py").write_text(tests)
    report = tmp_path / "report.json"
    plugins = ["-p", "tests.plugin", "-p", "no:django", "-n", workers, f"--report={report}", "--without-slow"]
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, f"--rootdir={tmp_path}", *plugins, str(tmp_path)]
    variables = os.environ | {"CAMPUSG_VAR_DIR": str(tmp_path)}
    subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, check=False)
    assert json.loads(report.read_text()) == {
        "counts": {"passed": 1, "failed": 1, "skipped": 0, "deselected": 1},
        "failures": ["test_it.py::test_bad"],
    }


@pytest.mark.parametrize(("given", "workers"), [({"postgres"}, 2), ({"rabbitmq"}, 0), ({"redis", "postgres"}, 0)])
def test_a_given_server_that_has_one_share_is_used_by_one_process(given: set[str], workers: int) -> None:
    assert Environment("servers", given=frozenset(given)).workers(2) == workers


def test_a_failure_of_pytest_itself_counts_as_a_failed_test() -> None:
    broken = Environment("embedded")
    broken.run(Options(arguments=["--no-such-option"]))
    assert broken.counts == {"failed": 1}
    assert broken.failures == ["pytest itself, with exit code 4"]


def test_no_module_of_the_product_needs_the_tests_when_it_is_imported() -> None:
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                assert not re.match(r"(from|import) tests\b", ast.unparse(node)), path


def test_an_installation_without_the_tests_says_so(tmp_path: Path) -> None:
    """As in the production image."""
    for app in APPS:
        shutil.copytree(ROOT / app, tmp_path / app, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", tmp_path)
    variables = {"PATH": os.environ["PATH"], "CAMPUSG_BOOTSTRAP": "0", "CAMPUSG_ENV_FILE": os.devnull}
    command = [sys.executable, "manage.py", "test"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "The tests are not part of this installation. They come with a clone of the repository.\n"


# -- the command line -----------------------------------------------------------------------------------------------
def test_without_options_everything_runs_in_parallel_and_pytest_gets_all_arguments() -> None:
    parsed = options.parse(["-k", "outbox", "tests/sagas", "-x"])
    assert (parsed.environments, parsed.is_quick) == (("embedded", "servers"), False)
    assert parsed.arguments == ["-k", "outbox", "tests/sagas", "-x"]


def test_one_environment_can_be_chosen() -> None:
    assert options.parse(["--lane", "servers", "-x"]) == Options(
        ("servers",), workers=options.default_workers([]), arguments=["-x"]
    )


def test_a_quick_run_is_embedded_unless_another_environment_is_named() -> None:
    assert options.parse(["--quick"]).environments == ("embedded",)
    assert options.parse(["--quick", "--lane=servers"]).environments == ("servers",)


def test_an_unknown_environment_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--lane", "moon"])
    assert "choose from" in capsys.readouterr().err


def test_an_environment_without_a_failure_runs_nothing_when_only_the_last_failures_are_wanted() -> None:
    assert options.parse(["--lf"]).arguments == ["--lf", "--last-failed-no-failures=none"]


def test_there_are_never_more_workers_than_shares() -> None:
    assert options.default_workers([]) <= len(WORKERS)
    with pytest.raises(SystemExit):
        options.parse(["-n", "9"])


@pytest.mark.parametrize("argument", ["--pdb", "-s", "--last-failed"])
def test_a_debugger_and_a_few_tests_need_no_workers(argument: str) -> None:
    assert options.parse([argument]).workers == 0
    assert options.parse([argument, "-n", "2"]).workers == 2


def test_tests_that_measure_time_run_alone(monkeypatch) -> None:
    monkeypatch.setenv("CAMPUSG_TEST_CHAOS", "1")
    assert options.parse([]).workers == 0
