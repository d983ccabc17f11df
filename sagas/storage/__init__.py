"""Where sagas are kept: `storage()` is the place this process uses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from django.db import connection

from sagas.storage.base import Failures, Hold, Storage
from sagas.storage.postgres import PostgresStorage
from sagas.storage.sqlite import SqliteStorage

__all__ = ["Failures", "Hold", "Storage", "storage", "transactional", "use"]

P = ParamSpec("P")
T = TypeVar("T")

_DATABASES: Mapping[str, Storage] = {"postgresql": PostgresStorage(), "sqlite": SqliteStorage()}
_chosen: Storage | None = None


def storage() -> Storage:
    """Django's default database, unless `use` chose another place. Raises `KeyError` for any other kind of database."""
    return _chosen or _DATABASES[connection.vendor]


@contextmanager
def use(chosen: Storage) -> Iterator[Storage]:
    """Keep sagas in `chosen` inside the block, in all threads of this process; for tests."""
    global _chosen  # noqa: PLW0603 - one storage a process
    before, _chosen = _chosen, chosen
    try:
        yield chosen
    finally:
        _chosen = before


def transactional(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function inside a transaction of the storage."""

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with storage().atomic():
            return function(*args, **kwargs)

    return inside
