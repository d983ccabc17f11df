"""Five hundred worlds in which everything goes wrong: nothing is ever wrong, and all of it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.proofs.simulation.simulator import Simulation
from tests.proofs.simulation.world import prepared

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

SEEDS_AT_A_TIME = 50


@pytest.fixture(autouse=True)
def _prepared() -> Iterator[None]:
    with prepared():
        yield


@pytest.mark.parametrize("first", range(1, 501, SEEDS_AT_A_TIME), ids=lambda first: f"seeds from {first}")
def test_nothing_is_lost_and_nothing_doubled(first: int) -> None:
    for seed in range(first, first + SEEDS_AT_A_TIME):
        Simulation(seed).run_or_explain()


def test_the_same_seed_gives_the_same_trace() -> None:
    digests = [[Simulation(seed).run().digest for seed in range(1, 6)] for _ in range(2)]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 5


def test_the_worlds_are_bad_enough() -> None:
    """Every fact the engine can state is stated in some world, so no branch is left out by chance."""
    counts: Counter[str] = Counter()
    for seed in range(1, 31):
        counts += Simulation(seed).run().counts
    rare = [name for name in SEEN_BY_ALL if counts[name] < 3]
    assert not rare


SEEN_BY_ALL = (
    "crashes", "meanwhile", "COMPLETED", "COMPENSATED", "CANCELLED", "step_claimed", "step_completed", "step_retrying",
    "step_failed", "step_refused", "step_timed_out", "step_fenced", "compensation_started", "cancellation_started",
    "undo_claimed", "undo_completed", "undo_retrying", "undo_failed", "undo_timed_out", "undo_fenced", "redriven",
    "parked", "retried", "finished", "held", "let_go", "opened by the breaker",
)  # fmt: skip
