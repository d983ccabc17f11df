"""What a project must set so that sagas work, reported by `manage.py check`. `sagas.definition.checks` has the rest.

sagas.E013  `settings.SAGAS` has a key that is no option, or a value of another type
sagas.E014  SQLite without `"transaction_mode": "IMMEDIATE"`
sagas.E015  a database that the engine cannot use
sagas.W002  the beat schedule lacks the sweep, or the relay though events are published
sagas.W003  this process has no Celery app
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connection

from sagas.definition.options import Options

#: Where Celery keeps beat's schedule unless the project says otherwise.
CELERYS_SCHEDULER = "celery.beat:PersistentScheduler"
#: The name of the app that Celery makes up in a process that has none.
CELERYS_OWN_APP = "default"
LOCKING_MODES = ("IMMEDIATE", "EXCLUSIVE")
SQLITE_HINT = 'Add "OPTIONS": {"transaction_mode": "IMMEDIATE"} to DATABASES["default"].'
SCHEDULE_HINT = (
    'Add "{name}": {{"task": "{name}", "schedule": 2.0, "options": {{"expires": 2.0}}}} to CELERY_BEAT_SCHEDULE '
    "and run `celery beat`. If the schedule is kept elsewhere, silence this check."
)


def register_checks() -> None:
    register(check_settings, "sagas")


def check_settings(**_: Any) -> list[CheckMessage]:
    return [*_options(), *_database(), *_celery()]


# -- settings.SAGAS -------------------------------------------------------------------------------------------------
def _given() -> dict[Any, Any]:
    given = getattr(settings, "SAGAS", {})
    return given if isinstance(given, dict) else {}


def _options() -> Iterator[CheckMessage]:
    if not isinstance(given := getattr(settings, "SAGAS", {}), dict):
        hint = 'Write it as {"NAME": value, …}.'
        yield Error(f"settings.SAGAS is {_kind(type(given))} and not a dict.", hint=hint, id="sagas.E013")
    kinds = typing.get_type_hints(Options)
    known = [option.name.upper() for option in dataclasses.fields(Options)]
    for name, value in _given().items():
        if str(name).upper() not in known:
            yield Error(f"settings.SAGAS has {name!r}, which is no option.", hint=_meant(name, known), id="sagas.E013")
        elif not _fits(value, kind := kinds[name.lower()]):
            message = f"settings.SAGAS has {name} = {value!r}; it must be {_kind(kind)}."
            yield Error(message, hint=_example(kind), id="sagas.E013")


def _meant(name: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(name).upper(), known, n=1)
    return f"Did you mean {close[0]}?" if close else f"The options are {', '.join(known)}."


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return isinstance(value, tuple | list) and all(_fits(part, arguments[0]) for part in value)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in arguments)
    if kind in (int, float):
        return isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    return isinstance(value, origin or kind)


def _kind(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a tuple of {typing.get_args(kind)[0].__name__}"
    if not isinstance(kind, type):
        return str(kind)
    return f"{'an' if kind.__name__[0] in 'aeiou' else 'a'} {kind.__name__}"


def _example(kind: Any) -> str:
    examples = {"timedelta": "timedelta(seconds=10)", "Retry": "sagas.Retry(retries=3)"}
    found = next((text for name, text in examples.items() if name in str(kind)), "")
    return f"For example {found}." if found else ""


# -- database -------------------------------------------------------------------------------------------------------
def _database() -> Iterator[CheckMessage]:
    if connection.vendor not in ("postgresql", "sqlite"):
        message = f"The default database is {connection.vendor}, which the engine cannot use."
        yield Error(message, hint="Use PostgreSQL, or SQLite for a first look.", id="sagas.E015")
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or ""
    if connection.vendor == "sqlite" and mode.upper() not in LOCKING_MODES:
        message = 'SQLite opens transactions without a lock: two at a time fail with "database is locked".'
        yield Error(message, hint=SQLITE_HINT, id="sagas.E014")


# -- Celery ---------------------------------------------------------------------------------------------------------
def _celery() -> Iterator[CheckMessage]:
    if current_app.main == CELERYS_OWN_APP:
        message = "This process has no Celery app, so it would send messages to a broker on localhost."
        hint = "Import the app in your project's __init__.py: from .celery import app."
        yield Warning(message, hint=hint, id="sagas.W003")
    elif _has_a_plain_schedule():
        yield from _schedule()


def _has_a_plain_schedule() -> bool:
    """Whether beat takes its schedule from the settings.

    django-celery-beat and other schedulers keep it elsewhere, and with the in-process broker `sagas.embedded` adds what
    is missing.
    """
    conf = current_app.conf
    is_embedded = str(conf.broker_url or "").startswith("memory:")
    is_elsewhere = conf.beat_scheduler != CELERYS_SCHEDULER or "django_celery_beat" in settings.INSTALLED_APPS
    return not is_embedded and not is_elsewhere


def _schedule() -> Iterator[CheckMessage]:
    scheduled = {entry.get("task") for entry in current_app.conf.beat_schedule.values()}
    if "sagas.sweep" not in scheduled:
        message = "No beat schedule has sagas.sweep: a saga whose message is lost would stand still for ever."
        yield Warning(message, hint=SCHEDULE_HINT.format(name="sagas.sweep"), id="sagas.W002")
    if _given().get("EVENT_EXCHANGE") and "sagas.relay" not in scheduled:
        message = "No beat schedule has sagas.relay: events would not be published."
        yield Warning(message, hint=SCHEDULE_HINT.format(name="sagas.relay"), id="sagas.W002")
