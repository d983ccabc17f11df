"""Simulate until so many sagas have ended, one world a seed; exit 1 on a violation.

python -m tests.proofs.simulation --sagas 20000 --seed 1
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proofs.simulation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--sagas", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the following worlds take the next ones")
    parser.add_argument("--trace", action="store_true", help="print the trace of the first seed and stop")
    options = parser.parse_args()
    _prepare()
    from tests.proofs.simulation.simulator import Simulation
    from tests.proofs.simulation.world import prepared

    counts: Counter[str] = Counter()
    seed, began_at = options.seed, time.monotonic()
    with prepared():
        while counts["sagas"] < options.sagas:
            world = Simulation(seed)
            try:
                world.run_or_explain()
            except AssertionError as violation:
                print(f"VIOLATION in {violation}")  # noqa: T201
                return 1
            if options.trace:
                print("\n".join(world.trace))  # noqa: T201
                return 0
            counts += world.counts
            seed += 1
    took = time.monotonic() - began_at
    print(f"seeds {options.seed}..{seed - 1}, {took:.0f} s, 0 violations")  # noqa: T201
    print("  ".join(f"{name}={count}" for name, count in sorted(counts.items())))  # noqa: T201
    return 0


def _prepare() -> None:
    """Failpoints insist on tests, and this is one."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")
    import django
    import pytest  # noqa: F401

    django.setup()


if __name__ == "__main__":
    sys.exit(main())
