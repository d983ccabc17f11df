from __future__ import annotations

from collections.abc import Iterator

import pytest

from sagas.definition import registry
from sagas.testing import Runner
from tests.orders.campus import Campus
from tests.sagas.toy import World, toy


@pytest.fixture(autouse=True)
def _toy_saga() -> Iterator[None]:
    registry.register(toy)
    World.reset()
    yield
    registry.unregister(toy)


@pytest.fixture(params=[True, False], ids=["inline", "message-per-step"])
def runner(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Runner]:
    with Runner(run_inline=request.param) as runner:
        yield runner


@pytest.fixture
def campus(transactional_db: None) -> Iterator[Campus]:
    """An open restaurant, its customers and its runners."""
    with Runner() as runner:
        yield Campus.opened(runner)
