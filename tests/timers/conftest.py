from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from timers import registry


class Recorder:
    """A handler that records the entities it was called for. With `is_failing` it raises."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.is_failing = False

    def __call__(self, entity_id: str, payload: dict[str, Any]) -> None:
        if self.is_failing:
            raise RuntimeError("the handler fails")
        self.calls.append(entity_id)


@pytest.fixture
def handler() -> Iterator[Recorder]:
    handler = Recorder()
    registry.register("test.event", handler)
    yield handler
    registry.unregister("test.event")
