"""The system checks find wrong settings."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest
from django.conf import settings as configured

from campusg.checks import check_settings

REAL = {
    "EMBEDDED": False,
    "BROKER_URL": "amqp://broker",
    "IS_SQLITE": False,
    "STRIPE_API_KEY": "sk_test_x",
    "DEBUG": False,
}


def ids(settings, **changes: object) -> list[str | None]:
    for name, value in changes.items():
        setattr(settings, name, value)
    return [message.id for message in check_settings()]


def without_entry(name: str) -> dict[str, object]:
    schedule = copy.copy(configured.CELERY_BEAT_SCHEDULE)
    del schedule[name]
    return schedule


def test_a_production_setup_is_silent(settings) -> None:
    assert ids(settings, **REAL) == []


def test_the_embedded_setup_is_silent(settings) -> None:
    assert ids(settings, EMBEDDED=True, IS_SQLITE=True, BROKER_URL="") == []


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"ORDER_ACCEPTANCE_WINDOW": timedelta(seconds=10)}, "campusg.E001"),
        ({"CELERY_BEAT_SCHEDULE": without_entry("sagas.sweep")}, "campusg.E002"),
        ({"BROKER_URL": "memory://localhost/"}, "campusg.E003"),
        ({"IS_SQLITE": True}, "campusg.E004"),
        ({"STRIPE_API_KEY": "", "IS_SANDBOX_ALLOWED": False}, "campusg.E005"),
        ({"DELIVERY_FEE": "free"}, "campusg.E006"),
        ({"DELIVERY_FEE": "0.005"}, "campusg.E006"),
        ({"DELIVERY_FEE": "-1"}, "campusg.E006"),
        ({"CURRENCY": "dollars"}, "campusg.E006"),
        ({"SAGA_DEADLINE": timedelta(minutes=15)}, "campusg.E008"),
        ({"DEBUG": True}, "campusg.W001"),
        ({"SAGA_SWEEP_SECONDS": 120.0}, "campusg.W002"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_mistake_is_reported_with_its_id(settings, wrong: dict[str, object], expected: str) -> None:
    assert ids(settings, **(REAL | wrong)) == [expected]


def test_the_sandbox_can_be_asked_for(settings) -> None:
    assert ids(settings, **(REAL | {"STRIPE_API_KEY": "", "IS_SANDBOX_ALLOWED": True})) == []


def test_a_setting_under_its_old_name_is_reported(settings, monkeypatch) -> None:
    monkeypatch.setenv("CAMPUSG_RUN_AHEAD", "0")
    assert ids(settings, **REAL) == ["campusg.E009"]
    monkeypatch.setenv("CAMPUSG_RUN_INLINE", "0")
    assert ids(settings, **REAL) == [], "the release before may run beside this one"
