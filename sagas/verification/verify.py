"""Judging all rows by the invariants of all apps, at one moment, without getting in anybody's way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import connection, transaction
from django.utils.module_loading import autodiscover_modules

from sagas.verification import saga_invariants
from sagas.verification.invariants import Breach, Invariant

#: Long enough for a large database; an everyday statement is stopped much sooner.
PATIENCE = "15min"
#: Sorting and hashing in memory instead of on disk.
WORK_MEMORY = "128MB"

_registered: list[Invariant] = []


def register_invariants(*invariants: Invariant) -> None:
    """Let `manage.py verify` judge these too. Called when an app is ready."""
    _registered.extend(invariant for invariant in invariants if invariant not in _registered)


def invariants() -> list[Invariant]:
    """All that are registered, in the order of their numbers. Each app registers its own in a module `verify`."""
    autodiscover_modules("verify")
    register_invariants(*saga_invariants.INVARIANTS)
    return sorted(_registered, key=lambda invariant: int(invariant.code.removeprefix("I")))


def codes() -> list[str]:
    return list(dict.fromkeys(invariant.code for invariant in invariants()))


@dataclass
class Verdict:
    """How many rows one invariant was judged on, in how long, how often it was broken, and the first few breaches."""

    invariant: Invariant
    looked_at: int = 0
    seconds: float = 0.0
    breaches: int = 0
    examples: list[Breach] = field(default_factory=list)


@contextmanager
def snapshot() -> Iterator[None]:
    """One unchanging view of all rows for the length of the block, which can't write and takes no lock others feel.

    PostgreSQL: REPEATABLE READ, READ ONLY. SQLite: a deferred transaction in query_only mode, which keeps nobody
    from writing. Raises TransactionManagementError inside a transaction.
    """
    if connection.vendor == "postgresql":
        with transaction.atomic(durable=True):
            _begin_reading()
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
        cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
            cursor.execute("PRAGMA query_only = OFF")


def _begin_reading() -> None:
    limits = {
        "statement_timeout": PATIENCE, "idle_in_transaction_session_timeout": PATIENCE, "work_mem": WORK_MEMORY,
        "cursor_tuple_fraction": "1.0", "max_parallel_workers_per_gather": "0", "jit": "off",
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for name, value in limits.items():
            cursor.execute(f"SET LOCAL {name} = '{value}'")


def verify(
    chosen: Sequence[Invariant] | None = None, *, limit: int = 5, tell: Callable[[Invariant], None] = lambda _: None
) -> list[Verdict]:
    """Judge all rows as they are now. `tell` hears of each invariant before its turn; `limit` bounds the examples."""
    with snapshot():
        wanted = invariants() if chosen is None else chosen
        return [_judge(invariant, limit=limit, tell=tell) for invariant in wanted]


def _judge(invariant: Invariant, *, limit: int, tell: Callable[[Invariant], None]) -> Verdict:
    tell(invariant)
    began_at = time.monotonic()
    verdict = Verdict(invariant, looked_at=invariant.looks_at.count())
    for breach in invariant.search():
        verdict.breaches += 1
        if len(verdict.examples) < limit:
            verdict.examples.append(breach)
    verdict.seconds = time.monotonic() - began_at
    return verdict
