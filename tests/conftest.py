"""What every test may rely on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import TransactionTestCase
from pytest_django.plugin import DjangoDbBlocker

from sagas.holds import holds
from tests.tables import Prefilled, let_tests_empty_the_ledger

#: Marks of tests that need something not every test environment has.
NEEDS = ("embedded", "postgres", "rabbitmq", "redis", "chaos")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Prefilled]:
    with django_db_blocker.unblock():
        let_tests_empty_the_ledger()
        prefilled = Prefilled()
    with pytest.MonkeyPatch.context() as patch:
        # In place of `flush`, which Django calls after each test that commits.
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: prefilled.restore())
        yield prefilled


@pytest.fixture(scope="session")
def prefilled(django_db_setup: Prefilled) -> Prefilled:
    """For fixtures that commit rows for several tests: `prefilled.restore()` removes them."""
    return django_db_setup


def pytest_configure(config: pytest.Config) -> None:
    # Hashing a password well takes a third of a second, and no test is about that.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # Each test client would list all static files before its first request; this looks for a file when it is asked for.
    settings.WHITENOISE_AUTOREFRESH = True


def _available(config: pytest.Config) -> set[str]:
    found = set()
    if settings.EMBEDDED and settings.IS_SQLITE:
        found.add("embedded")
    if not settings.IS_SQLITE:
        found.add("postgres")
    if settings.BROKER_URL.startswith("amqp"):
        found.add("rabbitmq")
    if settings.REDIS_URL:
        found.add("redis")
    if os.environ.get("CAMPUSG_TEST_CHAOS") == "1" or "chaos" in config.getoption("markexpr"):
        found.add("chaos")
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a service that this test environment lacks."""
    available = _available(config)
    left_out = [item for item in items if _needs(item) - available]
    if left_out:
        items[:] = [item for item in items if not _needs(item) - available]
        config.hook.pytest_deselected(items=left_out)


def _needs(item: pytest.Item) -> set[str]:
    return {name for name in NEEDS if item.get_closest_marker(name)}


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    """Throttling counts in the cache, and holds are remembered for a second; no test should pay for another."""
    cache.clear()
    holds.forget()
