from __future__ import annotations

from collections.abc import Iterator

import pytest

from sagas.testing import Runner
from tests.chaos import customers


@pytest.fixture
def runner(transactional_db: None) -> Iterator[Runner]:
    """Messages are delivered when a test says so, one step each, so that every race starts where it should."""
    customers.stock_the_kitchen()
    with Runner(run_ahead=False) as runner:
        yield runner
