"""Where the steps play: their troubles, the crashes, and what else happens while a call is on its way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from django.db import transaction

from sagas.failpoints import Failpoint
from sagas.models import SagaInstance
from sagas.storage import rows
from tests.proofs.simulation.fault_profile import Weather
from tests.proofs.simulation.fixtures import SoldOut
from tests.proofs.simulation.provider import Provider

#: How many processes may be inside each other's calls.
DEEPEST = 3


class Crash(BaseException):
    """kill -9: nothing after it runs."""


class World(Protocol):
    chance: random.Random
    weather: Weather
    depth: int

    def something_happens(self) -> None: ...

    def note(self, line: str) -> None: ...


@dataclass
class CallInFlight:
    """`is_excused`: a broker or a dying worker has told meanwhile that whoever made this call is dead."""

    order_id: str
    name: str
    lease_until: datetime | None
    is_excused: bool = False


@dataclass
class Stage:
    world: World
    provider: Provider
    in_flight: list[CallInFlight] = field(default_factory=list)
    #: Found inside a step, where the engine would take an exception for the step's own trouble.
    violations: list[str] = field(default_factory=list)

    # -- what the steps ask for ---------------------------------------------------------------------------------
    def local(self, order_id: str, name: str) -> None:
        self._require_alone(order_id, name)
        self._trouble(name)

    def apply(self, order_id: str, name: str, thing: str, key: str) -> None:
        with self._call(order_id, name):
            self.provider.apply(order_id, thing, key)

    def revoke(self, order_id: str, name: str, thing: str) -> None:
        with self._call(order_id, name):
            self.provider.revoke(order_id, thing)

    # -- troubles -----------------------------------------------------------------------------------------------
    def reached(self, point: Failpoint) -> None:
        if self._happens(self.world.weather.dies_at_failpoint):
            self.world.note(f"dies at {point}")
            raise Crash(point)

    def excuse(self, order_id: str) -> None:
        for call in self.in_flight:
            call.is_excused |= call.order_id == order_id

    @contextmanager
    def _call(self, order_id: str, name: str) -> Iterator[None]:
        self._require_alone(order_id, name)
        if transaction.get_connection().in_atomic_block:
            self.violations.append(f"{name} was called inside a transaction")
        lease_until = SagaInstance.objects.values_list("lease_until", flat=True).get(subject=order_id)
        self.in_flight.append(CallInFlight(order_id, name, lease_until))
        try:
            self._meanwhile()
            self._trouble(name)
            yield
            self._meanwhile()
            self._lose_the_answer(name)
        finally:
            self.in_flight.pop()

    def _require_alone(self, order_id: str, name: str) -> None:
        """Within a call's lease nobody else works on its saga, unless it was reported dead."""
        for call in self.in_flight:
            is_leased = call.lease_until is not None and rows.now() < call.lease_until
            if call.order_id == order_id and is_leased and not call.is_excused:
                self.violations.append(f"{name} began while {call.name} had its lease")

    def _meanwhile(self) -> None:
        """The rest of the world does not wait for a call."""
        while self.world.depth < DEEPEST and self._happens(self.world.weather.meanwhile):
            self.world.something_happens()

    def _trouble(self, name: str) -> None:
        weather = self.world.weather
        doom = weather.doom if weather.doomed == name else ""
        if doom == "dies" or self._happens(weather.dies_in_effect):
            raise Crash(name)
        if doom == "fails" or self._happens(weather.fails):
            raise ConnectionError("reset")
        if doom == "refuses" or self._happens(weather.refuses):
            raise SoldOut(f"{name}: no")

    def _lose_the_answer(self, name: str) -> None:
        weather = self.world.weather
        doom = weather.doom if weather.doomed == name else ""
        if doom == "times out" or self._happens(weather.times_out):
            raise TimeoutError("no answer")
        if doom == "dies after" or self._happens(weather.dies_in_effect):
            raise Crash(name)

    def _happens(self, likelihood: float) -> bool:
        return likelihood > 0 and self.world.chance.random() < likelihood
