"""Two sides on two PostgreSQL connections, led through every interleaving that two stops can make.

One side is stopped before one of its statements (or commits); the other then runs until its own stop, its end, or a
lock of the first; then the first goes on, and at last the second. Each pair of stops is one interleaving. The places
to stop are found by running: a stop that is never reached means that there are no more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, connections

PATIENCE_SECONDS = 20.0
NEVER = 10**6


@dataclass
class Outcome:
    """How one side ended."""

    value: Any = None
    error: Exception | None = None

    @property
    def is_won(self) -> bool:
        return self.error is None and self.value is not False


@dataclass
class Side:
    """A thread with a connection of its own that stops once, before its `stop`-th statement or commit."""

    action: Callable[[], Any]
    stop: int
    outcome: Outcome = field(default_factory=Outcome)
    passed: int = 0
    pid: int = 0
    is_stopped: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    is_over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            connection.ensure_connection()
            self.pid = connection.connection.info.backend_pid
            commit = connection.commit
            connection.commit = lambda: (self._point(), commit())[1]
            with connection.execute_wrapper(self._before_statement):
                self.outcome.value = self.action()
        except Exception as error:  # noqa: BLE001 - how a side ends is what the test looks at
            self.outcome.error = error
        finally:
            vars(connection).pop("commit", None)
            connections.close_all()
            self.is_over.set()

    def _before_statement(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self._point()
        return execute(sql, params, many, context)

    def _point(self) -> None:
        if self.passed == self.stop:
            self.is_stopped.set()
            if not self.may_go_on.wait(PATIENCE_SECONDS):
                raise TimeoutError("nobody let this side go on")
        self.passed += 1

    def run_until_it_waits(self) -> None:
        """Until it stands at its stop, waits for the other's lock, or is over."""
        if not self.thread.is_alive() and not self.is_over.is_set():
            self.thread.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.is_over.is_set():
            if self.is_stopped.is_set() and not self.may_go_on.is_set():
                return
            if _waits_for_a_lock(self.pid):
                return
            assert time.monotonic() < deadline, "a side neither ends nor waits"
            self.is_over.wait(0.002)

    def go_on(self) -> None:
        self.may_go_on.set()
        self.run_until_it_waits()

    def end(self) -> None:
        self.may_go_on.set()
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive(), "a side never ends: deadlock"


def _waits_for_a_lock(pid: int) -> bool:
    if not pid:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid])
        return bool(cursor.fetchone()[0])


@dataclass(frozen=True)
class Interleaving:
    """Where both sides were stopped, and how they ended."""

    stops: tuple[int, int]
    first: Outcome
    second: Outcome

    @property
    def winners(self) -> int:
        return self.first.is_won + self.second.is_won

    def __str__(self) -> str:
        return f"stopped at {self.stops}: {self.first} and {self.second}"


def interleavings(
    prepare: Callable[[], tuple[Callable[[], Any], Callable[[], Any]]], *, two_stops: bool = True
) -> Iterator[Interleaving]:
    """Every pair of stops, or only those of the first side. `prepare` sets the scene anew and answers the two sides."""
    for first_stop in range(NEVER):
        for second_stop in range(NEVER) if two_stops else (NEVER,):
            first, second = (
                Side(action, stop) for action, stop in zip(prepare(), (first_stop, second_stop), strict=True)
            )
            yield _led(first, second)
            if not second.is_stopped.is_set():
                break
        if not first.is_stopped.is_set():
            return


def _led(first: Side, second: Side) -> Interleaving:
    first.run_until_it_waits()
    second.run_until_it_waits()
    first.go_on()
    second.go_on()
    first.end()
    second.end()
    return Interleaving((first.stop, second.stop), first.outcome, second.outcome)
