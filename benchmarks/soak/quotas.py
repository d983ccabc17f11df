"""How many faults of each kind a run must have. A shorter run needs proportionally fewer."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

FULL_RUN_ORDERS = 10_000
BROKER_FAULTS = ("broker crashed", "broker purged", "broker connections cut", "broker stalled")
WORKER_KILLS = ("worker killed", "worker child killed")
#: In a full run.
LEAST = {"worker kills": 200, "broker faults": 30, "PostgreSQL crashes": 30, "late provider effects": 500}


@dataclass(frozen=True)
class Quota:
    name: str
    count: int
    least: int

    @property
    def is_met(self) -> bool:
        return self.count >= self.least


def quotas(faults: Counter[str], *, late_effects: int, deployed: bool, orders: int) -> list[Quota]:
    counts = {
        "worker kills": sum(faults[name] for name in WORKER_KILLS),
        "broker faults": sum(faults[name] for name in BROKER_FAULTS),
        "PostgreSQL crashes": faults["PostgreSQL crashed"],
        "late provider effects": late_effects,
    }
    share = min(1.0, orders / FULL_RUN_ORDERS)
    scaled = [Quota(name, count, math.ceil(LEAST[name] * share)) for name, count in counts.items()]
    return [*scaled, Quota("rolling deploys", int(deployed), 1)]
