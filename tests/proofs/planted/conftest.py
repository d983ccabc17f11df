"""The fixtures that the checks name; they come from other folders of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rest_framework.test import APIClient

from orders.models import MenuItem
from sagas.definition import registry
from sagas.storage import clock
from sagas.testing import Runner
from tests.orders import builders
from tests.payments.builders import Case
from tests.sagas.test_outbox import _fresh_memory, engine_runner, exchange, inbox
from tests.sagas.toy import World, toy
from tests.timers.conftest import handler

__all__ = ["_fresh_memory", "engine_runner", "exchange", "handler", "inbox"]


@pytest.fixture(autouse=True)
def _toy_saga(transactional_db: None) -> Iterator[None]:
    registry.register(toy)
    World.reset()
    with clock.moved():
        yield
    registry.unregister(toy)


@pytest.fixture
def runner(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.fixture
def alice(transactional_db: None) -> APIClient:
    return builders.client("alice")


@pytest.fixture
def laptop(transactional_db: None) -> MenuItem:
    return builders.laptop()


@pytest.fixture
def case(transactional_db: None) -> Case:
    case = Case(total_cents=1500)
    case.authorize()
    return case
