"""A few worlds of the simulator, each a test of its own, so that a mutation run stops at the first that notices."""

from __future__ import annotations

import pytest

from tests.proofs.simulation.simulator import Simulation
from tests.proofs.simulation.world import prepared

pytestmark = pytest.mark.embedded


@pytest.mark.parametrize("seed", range(2001, 2041))
def test_nothing_is_lost_and_nothing_doubled(seed: int) -> None:
    with prepared():
        Simulation(seed).run_or_explain()
