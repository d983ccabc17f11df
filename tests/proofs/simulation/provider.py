"""The remote side: it knows keys and tombstones, and counts what is live."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tests.proofs.simulation.fixtures import Reverted

#: Giving back a charge gives back what was settled with it.
BELONGING = {"charge": ("settlement",)}
NEEDED = {"settlement": "charge"}


@dataclass
class Provider:
    """`things[order, thing]` maps each idempotency key ever used to "live" or "void"."""

    things: dict[tuple[str, str], dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    tombstones: set[tuple[str, str]] = field(default_factory=set)
    applied: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def apply(self, order_id: str, thing: str, key: str) -> None:
        """The first request of a key has the effect, later ones read it; behind a tombstone nothing comes alive."""
        place = (order_id, thing)
        if place in self.tombstones or (order_id, NEEDED.get(thing, "")) in self.tombstones:
            raise Reverted(f"{thing} was reverted")
        if key not in self.things[place]:
            self.things[place][key] = "live"
            self.applied[place] += 1

    def revoke(self, order_id: str, thing: str) -> None:
        for name in (thing, *BELONGING.get(thing, ())):
            self.tombstones.add((order_id, name))
            self.things[order_id, name] = dict.fromkeys(self.things[order_id, name], "void")

    def live(self, order_id: str, thing: str) -> int:
        return list(self.things[order_id, thing].values()).count("live")

    def was_applied(self, order_id: str, thing: str) -> bool:
        return self.applied[order_id, thing] > 0
