"""A rolling deploy: every process is asked to end, and one of the new release takes its place."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from benchmarks.soak.apps import SECOND_RELEASE
from benchmarks.soak.cluster import City
from tests.harness.fleet import Fleet

#: A web first and a worker last is the hard order: new sagas meet workers that do not know them yet.
ROLES = ("web", "beat", "worker")
PATIENCE_SECONDS = {"web": 20.0, "beat": 20.0, "worker": 60.0}
#: Both releases are at work for this long between two replacements.
PAUSE_SECONDS = 3.0


@dataclass
class Deploy:
    """What was replaced, how many would not end by themselves, and how long both releases ran beside each other."""

    replaced: int = 0
    had_to_be_killed: int = 0
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        return self.replaced > 0


def roll_out(city: City) -> Deploy:
    """Replace all processes one at a time; what a fault restarts meanwhile comes back in the new release too."""
    deploy, began = Deploy(), time.monotonic()
    fleet = city.fleet
    fleet.environment = {**fleet.environment, "SOAK_RELEASE": SECOND_RELEASE}
    old = {role: list(fleet.processes.get(role, [])) for role in ROLES}
    while any(old.values()):
        for role in ROLES:
            if old[role]:
                _replace(fleet, role, old[role].pop(), deploy)
                time.sleep(PAUSE_SECONDS)
    deploy.seconds = time.monotonic() - began
    return deploy


def _replace(fleet: Fleet, role: str, process: subprocess.Popen[bytes], deploy: Deploy) -> None:
    has_ended = fleet.retire(role, process, seconds=PATIENCE_SECONDS[role])
    if has_ended is not None:  # else a fault was faster, and the new release is there already
        fleet.renew(role, process)
        deploy.had_to_be_killed += not has_ended
    deploy.replaced += 1
