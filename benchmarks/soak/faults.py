"""Faults from the seed: streams beside each other, each dealing from a shuffled deck, so that every kind comes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kombu import Connection

from benchmarks.soak.cluster import PLAIN_QUEUE, City
from benchmarks.soak.provider_faults import Misbehaviour
from campusg.topology import COMMAND_QUEUES

STALL_SECONDS = 4.0
ZOMBIE_SECONDS = 8.0
SLOW_SECONDS, LATENCY_SECONDS = 3.0, 0.05
LONGEST_OUTAGE_SECONDS = 2.0
#: Seconds between two faults of a stream, from and to.
PAUSES = {"workers": (2.0, 6.0), "servers": (8.0, 14.0), "others": (6.0, 10.0)}
#: Before the next fault of a stream so many sagas must have finished, or so long have passed.
PROGRESS = 3
PATIENCE_SECONDS = 30.0

Strike = Callable[["Storm", random.Random], Any]


@dataclass
class Storm:
    """Everything that strikes the city, and how often it did."""

    city: City
    seed: int
    #: How many sagas are finished.
    finished: Callable[[], int]
    faults: Counter[str] = field(default_factory=Counter)
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)
    last_fault_at: float = field(default_factory=time.monotonic)
    troubles: list[str] = field(default_factory=list)
    _finished_at: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        for name in PAUSES:
            thread = threading.Thread(target=self._blow, args=(name,), name=f"faults: {name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        """No new fault; those that last are waited for."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _blow(self, stream: str) -> None:
        chance = random.Random(f"{self.seed} {stream}")
        deck: list[str] = []
        while not self._over.wait(chance.uniform(*PAUSES[stream])) and self._is_at_work(stream):
            deck = deck or _shuffled(self._deck(stream), chance)
            if self._strike(deck[-1], chance):
                deck.pop()

    def _is_at_work(self, stream: str) -> bool:
        """Let the city come back from the last fault of this stream: one that lies still would show nothing new."""
        wanted = self._finished_at[stream] + PROGRESS
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while self.finished() < wanted and time.monotonic() < give_up_at:
            if self._over.wait(0.5):
                return False
        self._finished_at[stream] = self.finished()
        return True

    def _deck(self, stream: str) -> dict[str, int]:
        """The plain chain has no beat."""
        roles = self.city.fleet.commands
        return {name: count for name, count in DECKS[stream].items() if name != "beat killed" or "beat" in roles}

    def _strike(self, name: str, chance: random.Random) -> bool:
        """False if there was nothing to strike at that moment."""
        try:
            if FAULTS[name](self, chance) is False:
                return False
            self.faults[name] += 1
        except Exception as error:  # noqa: BLE001 - the storm goes on, and the table shows what it could not do
            self.troubles.append(f"{name}: {type(error).__name__}: {error}")
        self.last_fault_at = time.monotonic()
        return True

    # -- servers ------------------------------------------------------------------------------------------------
    def restart(self, name: str, chance: random.Random) -> None:
        """As a power cut would, and back again."""
        self.city.servers[name].kill()
        time.sleep(chance.uniform(0, LONGEST_OUTAGE_SECONDS))
        self.city.servers[name].start()

    def purge(self) -> None:
        names = [PLAIN_QUEUE] if self.city.is_plain else COMMAND_QUEUES
        with Connection(self.city.servers["rabbitmq"].url) as connection, connection.channel() as channel:
            for name in names:
                channel.queue_purge(name)

    def cut(self, name: str) -> None:
        self.city.proxies[name].cut()

    def stall(self, name: str) -> None:
        self.city.proxies[name].stall(STALL_SECONDS)
        time.sleep(STALL_SECONDS)

    def slow_down(self, name: str) -> None:
        proxy = self.city.proxies[name]
        proxy.latency_seconds = LATENCY_SECONDS
        time.sleep(SLOW_SECONDS)
        proxy.latency_seconds = 0.0

    # -- processes ----------------------------------------------------------------------------------------------
    def kill_worker(self, chance: random.Random) -> bool:
        """One of two that are at work: never both at once, or nothing would be killed at its work any more."""
        workers = self.city.workers_at_work()
        if len(workers) < 2:
            return False
        self.city.fleet.replace("worker", chance.choice(workers))
        return True

    def kill_child(self, chance: random.Random) -> bool:
        return self.city.fleet.kill_any_child(chance, self.city.workers_at_work())

    def kill_web(self, chance: random.Random) -> bool:
        return self.city.fleet.kill_any("web", chance)

    def make_a_zombie(self, chance: random.Random) -> bool:
        """A worker stands still past its leases, with whatever it holds, and then goes on as if nothing had been."""
        workers = self.city.workers_at_work()
        if not workers:
            return False
        worker = chance.choice(workers)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGSTOP)
            time.sleep(ZOMBIE_SECONDS)
            os.killpg(worker.pid, signal.SIGCONT)
        return True


FAULTS: Mapping[str, Strike] = {
    "worker killed": lambda storm, chance: storm.kill_worker(chance),
    "worker child killed": lambda storm, chance: storm.kill_child(chance),
    "worker stopped past its lease": lambda storm, chance: storm.make_a_zombie(chance),
    "beat killed": lambda storm, chance: storm.city.fleet.kill_any("beat", chance),
    "web killed": lambda storm, chance: storm.kill_web(chance),
    "PostgreSQL crashed": lambda storm, chance: storm.restart("postgres", chance),
    "PostgreSQL connections cut": lambda storm, _: storm.cut("postgres"),
    "PostgreSQL slow": lambda storm, _: storm.slow_down("postgres"),
    "broker crashed": lambda storm, chance: storm.restart("rabbitmq", chance),
    "broker purged": lambda storm, _: storm.purge(),
    "broker connections cut": lambda storm, _: storm.cut("rabbitmq"),
    "broker stalled": lambda storm, _: storm.stall("rabbitmq"),
    "Redis crashed": lambda storm, chance: storm.restart("redis", chance),
    "provider crashed": lambda storm, chance: storm.restart("provider", chance),
    "provider connections cut": lambda storm, _: storm.cut("provider"),
    "provider stalled": lambda storm, _: storm.stall("provider"),
    "provider answers wrongly": lambda storm, chance: storm.misbehaviour.order(chance),
}
#: How often each kind lies in its stream's deck. A deck is dealt to its end before it is shuffled anew.
DECKS: Mapping[str, Mapping[str, int]] = {
    "workers": {"worker killed": 2, "worker child killed": 8},
    "servers": {
        "PostgreSQL crashed": 3, "broker crashed": 1, "broker purged": 1, "broker connections cut": 1,
        "broker stalled": 1, "Redis crashed": 1,
    },
    "others": {
        "beat killed": 1, "web killed": 1, "worker stopped past its lease": 1, "PostgreSQL connections cut": 1,
        "PostgreSQL slow": 1, "provider crashed": 1, "provider connections cut": 1, "provider stalled": 1,
        "provider answers wrongly": 3,
    },
}  # fmt: skip


def _shuffled(deck: Mapping[str, int], chance: random.Random) -> list[str]:
    cards = [name for name, count in deck.items() for _ in range(count)]
    chance.shuffle(cards)
    return cards
