from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from timers import registry


class Bell:
    """A handler that remembers what it was rung for; `broken` makes it raise."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.broken = False

    def __call__(self, entity_id: str, payload: dict[str, Any]) -> None:
        if self.broken:
            raise RuntimeError("the bell is broken")
        self.rung.append(entity_id)


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    registry.register("test.bell", bell)
    yield bell
    registry.unregister("test.bell")
