"""The late-effects benchmark with a few orders. `make late-effects` runs thousands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_no_hold_leaks_and_the_ledgers_agree_on_a_bad_network():
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    run = subprocess.run(
        [sys.executable, "benchmarks/late_effects.py", "--orders=40", "--seed=7"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "'leaked_holds': 0" in run.stdout
