"""Time is the database's clock; a test may move it.

Only an offset is kept here, added to every reading of the database's clock, so that tests and the simulator can let
half an hour pass without waiting and production pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

_offset = timedelta(0)


def clock_offset() -> timedelta:
    return _offset


@contextmanager
def moved() -> Iterator[None]:
    """Undo every `advance` made inside the block; for tests."""
    global _offset  # noqa: PLW0603 - one clock a process
    before = _offset
    try:
        yield
    finally:
        _offset = before


def advance(by: timedelta) -> None:
    """Let `by` pass at once; for tests."""
    global _offset  # noqa: PLW0603 - one clock a process
    _offset += by
