"""How bad a world is."""

from __future__ import annotations

import random
from dataclasses import dataclass

#: In some worlds one step or compensation goes wrong every time, in one way.
DOOMED = ("look", "cook", "charge", "book", "settle", "tell", "serve", "ring_bell", "throw_away", "give_back", "untell",
    "unbook", "mute_bell")  # fmt: skip
DOOMS = ("fails", "times out", "dies", "dies after", "refuses")


@dataclass(frozen=True)
class Weather:
    """How likely each trouble is in one world; seeds differ in it, so that rare combinations get their days."""

    refuses: float = 0.0
    fails: float = 0.0
    times_out: float = 0.0
    dies_in_effect: float = 0.0
    dies_at_failpoint: float = 0.0
    meanwhile: float = 0.0
    loses: float = 0.0
    doubles: float = 0.0
    runs_ahead: float = 0.5
    #: Troubles in a row after which the circuit breaker opens; 0 never.
    breaker: int = 0
    doomed: str = ""
    doom: str = ""

    @classmethod
    def draw(cls, chance: random.Random) -> Weather:
        pick = chance.choice
        return cls(
            refuses=pick([0, 0.02, 0.1]), fails=pick([0, 0.1, 0.4]), times_out=pick([0, 0.1, 0.4]),
            dies_in_effect=pick([0, 0.02, 0.1]), dies_at_failpoint=pick([0, 0.01, 0.05]),
            meanwhile=pick([0.1, 0.4, 0.7]), loses=pick([0, 0.1, 0.4]), doubles=pick([0, 0.1, 0.4]),
            runs_ahead=pick([0, 0.5, 1]), breaker=pick([0, 0, 3]), doomed=pick([*[""] * 6, *DOOMED]), doom=pick(DOOMS),
        )  # fmt: skip


CALM = Weather()
