"""Runs many scenarios on a few threads, and limits how many orders are placed."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.soak.clients import Scenario

THREADS = 24
#: No order is placed while this many sagas are under way: the cluster would only fall further behind.
MOST_UNDER_WAY = 100
POLL_SECONDS = 0.25


class LoadGenerator:
    """Runs scenarios. One that yields seconds is continued after that time."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self._waiting: list[tuple[float, int, Scenario]] = []
        self._numbers = itertools.count()
        self._running = 0
        self._changed = threading.Condition()
        for number in range(THREADS):
            threading.Thread(target=self._work, name=f"load {number}", daemon=True).start()

    def add(self, scenario: Scenario) -> None:
        with self._changed:
            self._running += 1
        self._continue_later(scenario, 0.0)

    @property
    def is_done(self) -> bool:
        return self._running == 0

    def _continue_later(self, scenario: Scenario, seconds: float) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._numbers), scenario))
            self._changed.notify()

    def _work(self) -> None:
        while True:
            scenario = self._next_due()
            try:
                seconds = next(scenario)
            except StopIteration:
                self._end_one()
            except Exception as error:  # noqa: BLE001 - shown at the end of the run
                self.failures.append(error)
                self._end_one()
            else:
                self._continue_later(scenario, seconds)

    def _next_due(self) -> Scenario:
        with self._changed:
            while True:
                seconds = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if seconds is not None and seconds <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(seconds)

    def _end_one(self) -> None:
        with self._changed:
            self._running -= 1


@dataclass
class Pace:
    """When the next order may be placed: at most `rate` a second, and not while too many sagas are under way."""

    rate: float
    under_way: Callable[[], int]
    held_back_seconds: float = 0.0
    _next_at: float = field(default_factory=time.monotonic)

    def wait(self) -> None:
        self._next_at = max(self._next_at + 1 / self.rate, time.monotonic() - 1)
        time.sleep(max(0.0, self._next_at - time.monotonic()))
        while self.under_way() >= MOST_UNDER_WAY:
            self.held_back_seconds += POLL_SECONDS
            time.sleep(POLL_SECONDS)
