"""What the steps meet: failures, crashes, and everything else that happens while a call is in flight."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sagas.failpoints import Failpoint
from sagas.storage import storage
from tests.proofs.simulation.fault_profile import FaultProfile
from tests.proofs.simulation.fixtures import SoldOut
from tests.proofs.simulation.provider import Provider
from tests.proofs.simulation.world import Effects

#: How many processes may be inside each other's calls.
DEEPEST = 3


class Crash(BaseException):
    """kill -9: nothing after it runs."""


class World(Protocol):
    chance: random.Random
    profile: FaultProfile
    depth: int
    effects: Effects

    def something_happens(self) -> None: ...

    def log(self, line: str) -> None: ...


@dataclass
class CallInFlight:
    """`is_excused`: a broker or a dying worker has reported meanwhile that the worker of this call is dead."""

    order_id: str
    name: str
    lease_until: datetime | None
    is_excused: bool = False


@dataclass
class FaultHooks:
    world: World
    provider: Provider
    in_flight: list[CallInFlight] = field(default_factory=list)
    #: Found inside a step, where the engine would take an exception for the step's own failure.
    violations: list[str] = field(default_factory=list)

    # -- what the steps ask for ---------------------------------------------------------------------------------
    def write(self, order_id: str, name: str) -> None:
        self.world.effects.write(order_id, name)

    def effects(self, order_id: str) -> list[str]:
        return self.world.effects.of(order_id)

    def local(self, order_id: str, name: str) -> None:
        self._require_alone(order_id, name)
        self._fail_perhaps(name)

    def apply(self, order_id: str, name: str, thing: str, key: str) -> None:
        with self._call(order_id, name):
            self.provider.apply(order_id, thing, key)

    def revoke(self, order_id: str, name: str, thing: str) -> None:
        with self._call(order_id, name):
            self.provider.revoke(order_id, thing)

    # -- faults -------------------------------------------------------------------------------------------------
    def reached(self, point: Failpoint) -> None:
        if self._happens(self.world.profile.dies_at_failpoint):
            self.world.log(f"dies at {point}")
            raise Crash(point)

    def excuse(self, order_id: str) -> None:
        for call in self.in_flight:
            call.is_excused |= call.order_id == order_id

    @contextmanager
    def _call(self, order_id: str, name: str) -> Iterator[None]:
        self._require_alone(order_id, name)
        if storage().is_in_transaction:
            self.violations.append(f"{name} was called inside a transaction")
        (row,) = storage().of_subject(order_id)
        self.in_flight.append(CallInFlight(order_id, name, row.lease_until))
        try:
            self._meanwhile()
            self._fail_perhaps(name)
            yield
            self._meanwhile()
            self._lose_the_answer(name)
        finally:
            self.in_flight.pop()

    def _require_alone(self, order_id: str, name: str) -> None:
        """Within a call's lease no other process works on its saga, unless its worker was reported dead."""
        for call in self.in_flight:
            is_leased = call.lease_until is not None and storage().now() < call.lease_until
            if call.order_id == order_id and is_leased and not call.is_excused:
                self.violations.append(f"{name} began while {call.name} had its lease")

    def _meanwhile(self) -> None:
        """The rest of the world does not wait for a call."""
        while self.world.depth < DEEPEST and self._happens(self.world.profile.meanwhile):
            self.world.something_happens()

    def _fail_perhaps(self, name: str) -> None:
        profile = self.world.profile
        broken_how = profile.broken_how if profile.broken_step == name else ""
        if broken_how == "dies" or self._happens(profile.dies_in_effect):
            raise Crash(name)
        if broken_how == "fails" or self._happens(profile.fails):
            raise ConnectionError("reset")
        if broken_how == "refuses" or self._happens(profile.refuses):
            raise SoldOut(f"{name}: no")

    def _lose_the_answer(self, name: str) -> None:
        profile = self.world.profile
        broken_how = profile.broken_how if profile.broken_step == name else ""
        if broken_how == "times out" or self._happens(profile.times_out):
            raise TimeoutError("no answer")
        if broken_how == "dies after" or self._happens(profile.dies_in_effect):
            raise Crash(name)

    def _happens(self, likelihood: float) -> bool:
        return likelihood > 0 and self.world.chance.random() < likelihood
