"""How many faults a world has, and of which kinds."""

from __future__ import annotations

import random
from dataclasses import dataclass

#: In some worlds one step or compensation fails every time, in one way.
BREAKABLE = (
    "look", "cook", "charge", "book", "settle", "tell", "serve", "ring_bell", "throw_away", "give_back", "untell",
    "unbook", "mute_bell",
)  # fmt: skip
WAYS_TO_BREAK = ("fails", "times out", "dies", "dies after", "refuses")


@dataclass(frozen=True)
class FaultProfile:
    """How likely each fault is in one world; seeds differ in it, so that rare combinations occur."""

    refuses: float = 0.0
    fails: float = 0.0
    times_out: float = 0.0
    dies_in_effect: float = 0.0
    dies_at_failpoint: float = 0.0
    meanwhile: float = 0.0
    loses: float = 0.0
    doubles: float = 0.0
    runs_inline: float = 0.5
    #: Failures in a row after which the circuit breaker opens; 0 never.
    breaker: int = 0
    broken_step: str = ""
    broken_how: str = ""

    @classmethod
    def draw(cls, chance: random.Random) -> FaultProfile:
        pick = chance.choice
        return cls(
            refuses=pick([0, 0.02, 0.1]), fails=pick([0, 0.1, 0.4]), times_out=pick([0, 0.1, 0.4]),
            dies_in_effect=pick([0, 0.02, 0.1]), dies_at_failpoint=pick([0, 0.01, 0.05]),
            meanwhile=pick([0.1, 0.4, 0.7]), loses=pick([0, 0.1, 0.4]), doubles=pick([0, 0.1, 0.4]),
            runs_inline=pick([0, 0.5, 1]), breaker=pick([0, 0, 3]),
            broken_step=pick([*[""] * 6, *BREAKABLE]), broken_how=pick(WAYS_TO_BREAK),
        )  # fmt: skip


NO_FAULTS = FaultProfile()
