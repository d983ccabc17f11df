"""A pytest plugin: the fixture `saga_runner`. It is there wherever the package is installed, and does nothing unless a
test asks for it. It needs pytest-django."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sagas.testing import Runner


@pytest.fixture
def saga_runner(transactional_db: None) -> Iterator[Runner]:
    """A `sagas.testing.Runner` around the test: sagas run in the test's process, without a broker, and time passes only
    when the test lets it. The database is emptied after the test, because sagas commit."""
    from sagas.testing import Runner  # Django is set up by now

    with Runner() as runner:
        yield runner
