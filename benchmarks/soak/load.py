"""Runs many generators on a few threads, and lets new ones in at a pace the city can keep up with."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.soak.clients import Life

THREADS = 24
#: No new order while so many sagas are under way: a shop that cannot keep up takes no more orders.
MOST_UNDER_WAY = 100
LOOK_AGAIN_SECONDS = 0.25


class Crowd:
    """A life that yields seconds is continued when they have passed."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self._waiting: list[tuple[float, int, Life]] = []
        self._numbers = itertools.count()
        self._alive = 0
        self._changed = threading.Condition()
        for number in range(THREADS):
            threading.Thread(target=self._work, name=f"people {number}", daemon=True).start()

    def add(self, life: Life) -> None:
        with self._changed:
            self._alive += 1
        self._later(life, 0.0)

    @property
    def is_done(self) -> bool:
        return self._alive == 0

    def _later(self, life: Life, seconds: float) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._numbers), life))
            self._changed.notify()

    def _work(self) -> None:
        while True:
            life = self._next_due()
            try:
                seconds = next(life)
            except StopIteration:
                self._leave()
            except Exception as error:  # noqa: BLE001 - shown at the end of the run
                self.failures.append(error)
                self._leave()
            else:
                self._later(life, seconds)

    def _next_due(self) -> Life:
        with self._changed:
            while True:
                seconds = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if seconds is not None and seconds <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(seconds)

    def _leave(self) -> None:
        with self._changed:
            self._alive -= 1


@dataclass
class Pace:
    """When the next order may come: at `rate` a second at most, and only while the city keeps up."""

    rate: float
    under_way: Callable[[], int]
    held_back_seconds: float = 0.0
    _next_at: float = field(default_factory=time.monotonic)

    def wait(self) -> None:
        self._next_at = max(self._next_at + 1 / self.rate, time.monotonic() - 1)
        time.sleep(max(0.0, self._next_at - time.monotonic()))
        while self.under_way() >= MOST_UNDER_WAY:
            self.held_back_seconds += LOOK_AGAIN_SECONDS
            time.sleep(LOOK_AGAIN_SECONDS)
