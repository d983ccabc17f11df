from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from orders.models import MenuItem
from sagas.testing import Runner
from tests.orders import builders


@pytest.fixture(autouse=True)
def _throttle_is_reset() -> Iterator[None]:
    """The counters of the throttle would stay for the next test."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def alice(db: None) -> APIClient:
    return builders.client("alice")


@pytest.fixture
def bob(db: None) -> APIClient:
    return builders.client("bob")


@pytest.fixture
def laptop(db: None) -> MenuItem:
    return builders.laptop()


@pytest.fixture
def runner(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner
