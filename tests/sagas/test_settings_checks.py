"""What `manage.py check` says about a project's settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, current_app
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection

from sagas import checks, embedded
from sagas.definition.saga import Retry

EVERY = timedelta(seconds=2)


def found() -> list[str]:
    return [str(problem.id) for problem in checks.check_settings()]


# -- settings.SAGAS -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "right",
    [
        {},
        {"STALL": timedelta(seconds=5), "MAX_DISPATCHES": 3, "RUN_INLINE": False, "EVENT_EXCHANGE": ""},
        {"RETRY": Retry(retries=0), "RELEASE_PER_SECOND": 5, "AUTO_RETRY_DELAYS": ()},
        {"AUTO_RETRY_DELAYS": [EVERY]},
    ],
    ids=str,
)
def test_right_options_are_not_reported(settings: Any, right: dict[str, Any]) -> None:
    settings.SAGAS = right
    assert "sagas.E013" not in found()


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        ({"STAL": EVERY}, "settings.SAGAS has 'STAL', which is no option.", "Did you mean STALL?"),
        ({"COLOUR": "red"}, "settings.SAGAS has 'COLOUR', which is no option.", "The options are RETRY, UNDO_RETRY, "),
        ({"STALL": 10}, "settings.SAGAS has STALL = 10; it must be a timedelta.", "timedelta(seconds=10)"),
        ({"RETRY": 3}, "settings.SAGAS has RETRY = 3; it must be a Retry.", "sagas.Retry(retries=3)"),
        ({"MAX_DISPATCHES": "5"}, "settings.SAGAS has MAX_DISPATCHES = '5'; it must be an int.", None),
        ({"MAX_DISPATCHES": True}, "settings.SAGAS has MAX_DISPATCHES = True; it must be an int.", None),
        ({"RUN_INLINE": 1}, "settings.SAGAS has RUN_INLINE = 1; it must be a bool.", None),
        ({"AUTO_RETRY_DELAYS": (5,)}, "it must be a tuple of timedelta.", "timedelta(seconds=10)"),
        ([("STALL", EVERY)], "settings.SAGAS is a list and not a dict.", "{"),
    ],
    ids=str,
)
def test_wrong_options_are_reported(settings: Any, wrong: Any, message: str, hint: str | None) -> None:
    settings.SAGAS = wrong
    [problem] = [problem for problem in checks.check_settings() if problem.id == "sagas.E013"]
    assert message in problem.msg
    assert (hint or "") in (problem.hint or "")


def test_the_command_reports_them_instead_of_a_type_error(settings: Any) -> None:
    settings.SAGAS = {"STAL": EVERY}
    with pytest.raises(SystemCheckError, match=r"sagas\.E013"):
        call_command("check")


# -- database -------------------------------------------------------------------------------------------------------
@pytest.mark.embedded
@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["sagas.E014"]),
        ({"transaction_mode": "DEFERRED"}, ["sagas.E014"]),
        ({"transaction_mode": None}, ["sagas.E014"]),
        ({"transaction_mode": "immediate"}, []),
        ({"transaction_mode": "EXCLUSIVE"}, []),
    ],
    ids=str,
)
def test_sqlite_must_lock_when_a_transaction_begins(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], ids: list[str]
) -> None:
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert found() == ids


def test_another_database_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "oracle", raising=False)
    assert "sagas.E015" in found()


# -- Celery ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def celery_app(settings: Any) -> Iterator[Callable[..., Celery]]:
    """Makes the Celery app of another project, which is the current one for the rest of the test."""
    before = current_app._get_current_object()
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]
    settings.SAGAS = {}

    def make(name: str = "elsewhere", **conf: Any) -> Celery:
        app = Celery(name, set_as_current=False)
        app.conf.update({"broker_url": "amqp://localhost//"} | conf)
        app.set_current()
        return app

    yield make
    before.set_current()


def test_a_missing_sweep_is_reported(celery_app: Callable[..., Celery]) -> None:
    celery_app()
    [problem] = [problem for problem in checks.check_settings() if problem.id == "sagas.W002"]
    assert "sagas.sweep" in problem.msg
    assert 'Add "sagas.sweep": {"task": "sagas.sweep", "schedule": 2.0' in problem.hint


def test_a_sweep_under_any_name_is_enough(celery_app: Callable[..., Celery]) -> None:
    celery_app(beat_schedule={"look at sagas": {"task": "sagas.sweep", "schedule": 2.0}})
    assert "sagas.W002" not in found()


def test_the_relay_is_missed_only_where_events_are_published(celery_app: Callable[..., Celery], settings: Any) -> None:
    celery_app(beat_schedule={"sagas.sweep": {"task": "sagas.sweep", "schedule": 2.0}})
    settings.SAGAS = {"EVENT_EXCHANGE": "shop.events"}
    [problem] = [problem for problem in checks.check_settings() if problem.id == "sagas.W002"]
    assert "sagas.relay" in problem.msg


def test_a_schedule_kept_elsewhere_is_not_judged(celery_app: Callable[..., Celery], settings: Any) -> None:
    celery_app(beat_scheduler="redbeat.RedBeatScheduler")
    assert "sagas.W002" not in found()
    celery_app()
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_celery_beat"]
    assert "sagas.W002" not in found()


def test_with_the_in_process_broker_the_schedule_is_completed(celery_app: Callable[..., Celery]) -> None:
    app = celery_app(broker_url="memory://")
    assert "sagas.W002" not in found()
    assert set(embedded.InMemoryScheduler(app).schedule) >= {"sagas.sweep", "sagas.relay"}


def test_a_schedule_of_the_project_is_kept_in_process(celery_app: Callable[..., Celery]) -> None:
    app = celery_app(broker_url="memory://", beat_schedule={"mine": {"task": "sagas.sweep", "schedule": 7.0}})
    assert {"mine", "sagas.relay"} <= set(embedded.InMemoryScheduler(app).schedule)
    assert "sagas.sweep" not in embedded.InMemoryScheduler(app).schedule


def test_a_process_without_a_celery_app_is_reported(celery_app: Callable[..., Celery]) -> None:
    celery_app("default")  # as Celery itself names the app it makes up
    [problem] = [problem for problem in checks.check_settings() if problem.id == "sagas.W003"]
    assert "__init__.py" in problem.hint


def test_every_id_is_listed() -> None:
    listed = set(re.findall(r"^sagas\.\w\d+", checks.__doc__ or "", re.MULTILINE))
    assert listed == {"sagas.E013", "sagas.E014", "sagas.E015", "sagas.W002", "sagas.W003"}
