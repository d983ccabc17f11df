"""A rolling deploy: each process is asked to end, and is replaced by one of the new release."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from benchmarks.soak.apps import SECOND_RELEASE
from benchmarks.soak.cluster import Cluster
from tests.harness.fleet import Fleet

#: This order is the hardest: the first new web starts sagas that no worker knows yet.
ROLES = ("web", "beat", "worker")
PATIENCE_SECONDS = {"web": 20.0, "beat": 20.0, "worker": 60.0}
#: Between two replacements, with both releases at work.
PAUSE_SECONDS = 3.0


@dataclass
class Deploy:
    """How many processes were replaced, how many of them had to be killed, and how long both releases ran."""

    replaced: int = 0
    had_to_be_killed: int = 0
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        return self.replaced > 0


def roll_out(cluster: Cluster) -> Deploy:
    """Replace all processes, one at a time. A process that a fault kills meanwhile is started in the new release."""
    deploy, began = Deploy(), time.monotonic()
    fleet = cluster.fleet
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
    if has_ended is not None:  # else a fault has killed it, and it runs the new release already
        fleet.renew(role, process)
        deploy.had_to_be_killed += not has_ended
    deploy.replaced += 1
