from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.core.cache import cache

from orders.models import MenuItem
from orders.seed import seed_demo
from sagas.testing import Runner
from tests.stories.campus import Campus, Person


@pytest.fixture
def campus(transactional_db: None) -> Iterator[Campus]:
    cache.clear()
    seed_demo()
    with Runner() as runner:
        yield Campus(runner)


@pytest.fixture
def alice(campus: Campus) -> Person:
    """A customer."""
    return campus.person("alice")


@pytest.fixture
def rita(campus: Campus) -> Person:
    """A runner."""
    return campus.person("rita", role="runner")


@pytest.fixture
def gino(campus: Campus) -> Person:
    """A member of the staff of the Pizza Corner."""
    return campus.person("gino", role="restaurant", restaurant="Pizza Corner")


@pytest.fixture
def olga(campus: Campus) -> Person:
    """An operator."""
    return campus.person("olga", role="operator")


@pytest.fixture
def stock(campus: Campus) -> Callable[[str], tuple[int, int]]:
    """The stock of an item: `stock("tiramisu")` returns (on hand, reserved)."""

    def of(sku: str) -> tuple[int, int]:
        item = MenuItem.objects.get(pk=sku)
        return item.stock, item.reserved

    return of
