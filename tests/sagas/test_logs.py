"""Log lines: each names its saga in the text, Celery's own lines are true, and an idle system says nothing."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sagas import task_logs
from sagas.engine import commands
from sagas.holds import holds
from sagas.testing import Runner
from tests.sagas.toy import SoldOut, Started, World

ROOT = Path(__file__).parents[2]


def said(caplog: pytest.LogCaptureFixture, action: str) -> logging.LogRecord:
    """The one record of this action."""
    [record] = [record for record in caplog.records if getattr(record, "action", "") == action]
    return record


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "sagas")
    return caplog


# -- the engine's own lines -----------------------------------------------------------------------------------------
def test_every_line_about_a_saga_names_it_and_its_subject(runner: Runner, log: pytest.LogCaptureFixture) -> None:
    World.failures["charge before"] = [TimeoutError("slow"), SoldOut("No.")]
    World.failures["give_back"] = [SoldOut("Never.")]
    row = Started().start()
    runner.run_to_end()
    commands.cancel(row.id, reason_code="other", reason="Changed my mind", actor="ann")
    World.failures["give_back"] = [SoldOut("Never.")]
    runner.run_to_end()
    commands.retry(row.id, reason="Try again", actor="operator")
    runner.run_to_end()
    about = [record for record in log.records if hasattr(record, "saga_id")]
    actions = {record.action for record in about}
    assert actions >= {"saga_started", "step_failed", "saga_cancelling", "saga_retried", "saga_finished"}
    for record in about:
        assert str(row.id) in record.getMessage(), record.getMessage()
        assert (record.saga_id, record.saga, record.subject) == (str(row.id), "toy", row.subject)
        assert row.subject in record.getMessage()


@pytest.mark.parametrize(
    ("failures", "text", "step"),
    [
        ({"charge before": [SoldOut("No.")]}, r"Step charge failed, toy ID \(SUBJECT\) goes back: No\.", "charge"),
        (
            {"charge before": [TimeoutError("slow")]},
            r"Step charge failed, toy ID \(SUBJECT\) tries it again at \d\d:\d\d:\d\d UTC: TimeoutError: slow",
            "charge",
        ),
        ({"cook": [SoldOut("No.")]}, r"Step cook failed, toy ID \(SUBJECT\) goes back: No\.", "cook"),
        (
            {"ring_bell": [SoldOut("No.")]},
            r"Step ring_bell failed, toy ID \(SUBJECT\) needs attention: No\.",
            "ring_bell",
        ),
    ],
    ids=["a call refuses", "a call is tried again", "a local step refuses", "a saga is parked"],
)
def test_a_failed_step_is_named_with_what_happens_next(
    runner: Runner, log: pytest.LogCaptureFixture, failures: dict[str, list[BaseException]], text: str, step: str
) -> None:
    World.failures.update({name: list(errors) for name, errors in failures.items()})
    row = Started().start()
    runner.run()
    record = said(log, "step_failed")
    pattern = text.replace("ID", str(row.id)).replace("SUBJECT", row.subject)
    assert re.fullmatch(pattern, record.getMessage())
    assert record.step == step


def test_a_saga_that_is_sent_again_is_named(runner: Runner, log: pytest.LogCaptureFixture) -> None:
    row = Started().start()
    runner.lose_messages()
    runner.wait_for_next()
    message = said(log, "saga_redispatched").getMessage()
    assert message == f"Saga sent again (overdue): toy {row.id} ({row.subject}) goes on"


def test_a_dependency_is_named(runner: Runner, log: pytest.LogCaptureFixture) -> None:
    holds.hold_dependency("bank", reason="Strike", actor="ann")
    holds.release_dependency("bank", reason="Over", actor="ann")
    assert said(log, "dependency_held").getMessage() == "bank is on hold: Strike"
    assert said(log, "dependency_released").getMessage() == "bank is released: Over"


# -- Celery's lines -------------------------------------------------------------------------------------------------
PROGRAM = """
import dataclasses, logging, sys, time
from django.db import transaction
import sagas
from sagas import embedded

logging.basicConfig(level=sys.argv[2], stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")

@dataclasses.dataclass
class Trip:
    seat: str

tries = []

def reserve(*, seat: str) -> None: ...
def free(*, seat: str) -> None: ...
def issue(*, seat: str, attempt: int) -> None:
    if seat == "full":
        raise sagas.Refusal("Sold out.")
    if seat == "flaky" and attempt == 1:
        raise TimeoutError("slow")
def confirm(*, seat: str) -> None: ...

trip = (
    sagas.Saga("trip", takes=Trip)
    .step(reserve, compensate=free)
    .call(issue, compensate=free, uses="airline", retry=sagas.Retry(first=sagas.seconds(0.2)))
    .pivot(confirm)
)
sagas.register(trip)
embedded.configure(sys.argv[1])

def start(seat):
    with transaction.atomic():
        return sagas.start(trip, input=Trip(seat), key=seat, subject=seat)

with embedded.running():
    for seat in ("good", "full", "flaky"):
        embedded.wait_for(start(seat).id)
    sagas.hold_dependency("airline", reason="strike", actor="ann")
    held = start("held")
    time.sleep(1.5)
    print("--- idle", flush=True)
    time.sleep(2.5)
    print("--- end", flush=True)
"""


def printed(folder: Path, level: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "logs.sqlite3"), level],
        cwd=folder, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def at_info(tmp_path_factory: pytest.TempPathFactory) -> str:
    return printed(tmp_path_factory.mktemp("logs"), "INFO")


@pytest.mark.parametrize(
    ("seat", "end"),
    [
        ("full", r"raised expected: StepFailed\('trip \S+ \(full\) goes back: Sold out\.'\)"),
        ("flaky", r"retry: trip \S+ \(flaky\) tries it again at \S+ UTC: TimeoutError: slow"),
        ("held", r"retry: trip \S+ \(held\) waits for airline, which is on hold"),
    ],
)
def test_celery_never_says_succeeded_for_a_step_that_is_not_done(at_info: str, seat: str, end: str) -> None:
    assert re.search(rf"^INFO celery\.app\.trace Task __main__\.issue\[\S+\] {end}$", at_info, re.MULTILINE)


def test_celery_says_succeeded_once_for_each_step_that_is_done(at_info: str) -> None:
    """The good one, and the second try of the flaky one."""
    assert (
        len(re.findall(r"^INFO celery\.app\.trace Task __main__\.issue\[\S+\] succeeded", at_info, re.MULTILINE)) == 2
    )


def test_an_idle_system_says_nothing_at_info(at_info: str) -> None:
    assert at_info.split("--- idle\n")[1].split("--- end", maxsplit=1)[0] == ""
    assert "Task sagas.sweep" not in at_info


def test_the_runs_of_the_periodic_tasks_are_there_at_debug(tmp_path: Path) -> None:
    idle = printed(tmp_path, "DEBUG").split("--- idle\n")[1].split("--- end")[0]
    for line in (r"DEBUG celery\.worker\.strategy Task sagas\.sweep\[\S+\] received",
                 r"DEBUG celery\.app\.trace Task sagas\.sweep\[\S+\] succeeded",
                 r"DEBUG celery\.beat Scheduler: Sending due task sagas\.sweep \(sagas\.sweep\)"):  # fmt: skip
        assert re.search(f"^{line}", idle, re.MULTILINE), line


# -- a project's own logging ----------------------------------------------------------------------------------------
def record_of(name: str, level: int, task: str) -> logging.LogRecord:
    record = logging.LogRecord(name, level, __file__, 1, "Task %(name)s done", ({"name": task},), None)
    record.data = {"name": task}
    return record


def test_only_the_engines_periodic_tasks_are_lowered_and_only_from_info() -> None:
    lowers = task_logs.PeriodicTasksAtDebug()
    kept = [
        record_of("celery.app.trace", logging.INFO, "sagas.compensate"),
        record_of("celery.app.trace", logging.INFO, "shop.clean_up"),
        record_of("celery.app.trace", logging.ERROR, "sagas.sweep"),
        logging.LogRecord("celery.beat", logging.INFO, __file__, 1, "beat: Starting...", (), None),
    ]
    levels = [record.levelno for record in kept]
    assert all(lowers.filter(record) for record in kept)
    assert [record.levelno for record in kept] == levels


def test_levels_and_handlers_stay_as_the_project_set_them() -> None:
    loggers = [logging.getLogger(name) for name in task_logs.LOGGERS]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    task_logs.quieten_periodic_tasks()
    task_logs.quieten_periodic_tasks()
    assert [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers] == before
    for logger in loggers:
        assert sum(isinstance(known, task_logs.PeriodicTasksAtDebug) for known in logger.filters) == 1
