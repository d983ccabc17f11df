"""Faults, chosen by the seed. They come in parallel streams; each stream repeats its faults in random order."""

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

from benchmarks.soak.cluster import PLAIN_QUEUE, Cluster
from benchmarks.soak.provider_faults import ProviderFaults
from campusg.topology import COMMAND_QUEUES

STALL_SECONDS = 4.0
WORKER_PAUSE_SECONDS = 8.0
SLOW_SECONDS, LATENCY_SECONDS = 3.0, 0.05
LONGEST_OUTAGE_SECONDS = 2.0
#: Seconds between two faults of a stream: at least, at most.
INTERVALS = {"workers": (2.0, 6.0), "servers": (8.0, 14.0), "others": (6.0, 10.0)}
#: The next fault of a stream waits until this many sagas have finished since the last one, or for this long.
PROGRESS = 3
PATIENCE_SECONDS = 30.0

Fault = Callable[["FaultSchedule", random.Random], Any]


@dataclass
class FaultSchedule:
    """Causes the faults, and counts them."""

    cluster: Cluster
    seed: int
    #: How many sagas are finished.
    finished: Callable[[], int]
    counts: Counter[str] = field(default_factory=Counter)
    provider: ProviderFaults = field(default_factory=ProviderFaults)
    last_fault_at: float = field(default_factory=time.monotonic)
    #: Faults that could not be caused, and why.
    errors: list[str] = field(default_factory=list)
    _finished_at: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        for name in INTERVALS:
            thread = threading.Thread(target=self._run, args=(name,), name=f"faults: {name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        """Cause no new fault, and wait for those that are not over."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, stream: str) -> None:
        chance = random.Random(f"{self.seed} {stream}")
        faults: list[str] = []
        while not self._over.wait(chance.uniform(*INTERVALS[stream])) and self._wait_for_progress(stream):
            faults = faults or _shuffled(self._round(stream), chance)
            if self._cause(faults[-1], chance):
                faults.pop()

    def _wait_for_progress(self, stream: str) -> bool:
        """Let the cluster recover from the last fault of this stream. False: the schedule is over."""
        wanted = self._finished_at[stream] + PROGRESS
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while self.finished() < wanted and time.monotonic() < give_up_at:
            if self._over.wait(0.5):
                return False
        self._finished_at[stream] = self.finished()
        return True

    def _round(self, stream: str) -> dict[str, int]:
        """The plain chain has no beat."""
        roles = self.cluster.fleet.commands
        return {name: count for name, count in ROUNDS[stream].items() if name != "beat killed" or "beat" in roles}

    def _cause(self, name: str, chance: random.Random) -> bool:
        """False: it was not possible at this moment, because no such process is up."""
        try:
            if FAULTS[name](self, chance) is False:
                return False
            self.counts[name] += 1
        except Exception as error:  # noqa: BLE001 - the run goes on, and its table shows the error
            self.errors.append(f"{name}: {type(error).__name__}: {error}")
        self.last_fault_at = time.monotonic()
        return True

    # -- servers ------------------------------------------------------------------------------------------------
    def restart(self, name: str, chance: random.Random) -> None:
        """As after a power failure: kill -9, and start again."""
        self.cluster.servers[name].kill()
        time.sleep(chance.uniform(0, LONGEST_OUTAGE_SECONDS))
        self.cluster.servers[name].start()

    def purge(self) -> None:
        names = [PLAIN_QUEUE] if self.cluster.is_plain else COMMAND_QUEUES
        with Connection(self.cluster.servers["rabbitmq"].url) as connection, connection.channel() as channel:
            for name in names:
                channel.queue_purge(name)

    def cut(self, name: str) -> None:
        self.cluster.proxies[name].cut()

    def stall(self, name: str) -> None:
        self.cluster.proxies[name].stall(STALL_SECONDS)
        time.sleep(STALL_SECONDS)

    def slow_down(self, name: str) -> None:
        proxy = self.cluster.proxies[name]
        proxy.latency_seconds = LATENCY_SECONDS
        time.sleep(SLOW_SECONDS)
        proxy.latency_seconds = 0.0

    # -- processes ----------------------------------------------------------------------------------------------
    def kill_worker(self, chance: random.Random) -> bool:
        """Kill one worker while the other one works. Both at once would leave no busy worker to kill."""
        workers = self.cluster.workers_at_work()
        if len(workers) < 2:
            return False
        self.cluster.fleet.replace("worker", chance.choice(workers))
        return True

    def kill_child(self, chance: random.Random) -> bool:
        return self.cluster.fleet.kill_any_child(chance, self.cluster.workers_at_work())

    def kill_web(self, chance: random.Random) -> bool:
        return self.cluster.fleet.kill_any("web", chance)

    def pause_worker(self, chance: random.Random) -> bool:
        """Stop a worker for longer than its leases last, and let it continue then."""
        workers = self.cluster.workers_at_work()
        if not workers:
            return False
        worker = chance.choice(workers)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGSTOP)
            time.sleep(WORKER_PAUSE_SECONDS)
            os.killpg(worker.pid, signal.SIGCONT)
        return True


FAULTS: Mapping[str, Fault] = {
    "worker killed": lambda schedule, chance: schedule.kill_worker(chance),
    "worker child killed": lambda schedule, chance: schedule.kill_child(chance),
    "worker stopped past its lease": lambda schedule, chance: schedule.pause_worker(chance),
    "beat killed": lambda schedule, chance: schedule.cluster.fleet.kill_any("beat", chance),
    "web killed": lambda schedule, chance: schedule.kill_web(chance),
    "PostgreSQL crashed": lambda schedule, chance: schedule.restart("postgres", chance),
    "PostgreSQL connections cut": lambda schedule, _: schedule.cut("postgres"),
    "PostgreSQL slow": lambda schedule, _: schedule.slow_down("postgres"),
    "broker crashed": lambda schedule, chance: schedule.restart("rabbitmq", chance),
    "broker purged": lambda schedule, _: schedule.purge(),
    "broker connections cut": lambda schedule, _: schedule.cut("rabbitmq"),
    "broker stalled": lambda schedule, _: schedule.stall("rabbitmq"),
    "Redis crashed": lambda schedule, chance: schedule.restart("redis", chance),
    "provider crashed": lambda schedule, chance: schedule.restart("provider", chance),
    "provider connections cut": lambda schedule, _: schedule.cut("provider"),
    "provider stalled": lambda schedule, _: schedule.stall("provider"),
    "provider answers wrongly": lambda schedule, chance: schedule.provider.add(chance),
}
#: How often each kind comes in one round of its stream. After each round the order is shuffled again.
ROUNDS: Mapping[str, Mapping[str, int]] = {
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


def _shuffled(counts: Mapping[str, int], chance: random.Random) -> list[str]:
    faults = [name for name, count in counts.items() for _ in range(count)]
    chance.shuffle(faults)
    return faults
