"""What must notice the planted defects: tests as they are, worlds of the simulator, and small searches of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.proofs.model.machine import running
from tests.proofs.model.protocols import PROTOCOLS
from tests.proofs.model.search import Search
from tests.proofs.planted.planting import memory
from tests.proofs.simulation.simulator import Simulation
from tests.proofs.simulation.world import prepared


@dataclass(frozen=True)
class Check:
    """`name` is for the reader. The parameters of `run` that have no default are fixtures."""

    name: str
    run: Callable[..., None]


def suite(function: Callable[..., None], **given: Any) -> Check:
    """A test of the suite, run as it is."""
    values = "".join(f", {name}={value}" for name, value in given.items())
    file = function.__module__.replace(".", "/")
    return Check(f"`{file}.py::{function.__name__}`{values}", partial(function, **given) if given else function)


def simulator(first: int, last: int) -> Check:
    def simulate() -> None:
        with prepared():
            for seed in range(first, last + 1):
                Simulation(seed, memory()).run_or_explain()

    return Check(f"the simulator, seeds {first} to {last}", simulate)


def model(name: str) -> Check:
    def search() -> None:
        with running(PROTOCOLS[name], memory()) as machine:
            found = Search(machine, workers=2, messages=2, limit=6_000, stops_at_once=True).run()
        assert not found.violations, {what: found.trace(number) for what, number in found.violations.items()}

    return Check(f"the model of `{name}`, 6,000 states", search)
