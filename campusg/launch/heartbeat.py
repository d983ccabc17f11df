"""Is the worker or beat in this container alive?

It touches a file; `python -m campusg.launch.heartbeat` looks at the file's age.

Asking over the broker (`celery inspect ping`) takes seconds and fails whenever the broker does.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

VARIABLE = "CAMPUSG_HEARTBEAT_FILE"
OLDEST_SECONDS = 30


def connect(path: Path) -> None:
    """Touch `path` when a worker or beat has started, at a worker's heartbeats, and whenever beat could publish."""
    from celery import signals

    is_ready = False

    def touch(**_: Any) -> None:
        path.touch()

    def touch_when_beat_publishes(**_: Any) -> None:
        touch()
        signals.after_task_publish.connect(touch, weak=False)

    def touch_when_running(sender: Any, **_: Any) -> None:
        # A worker that is stopped between this signal and its loop fails: it is ready once the loop runs.
        nonlocal is_ready
        is_ready = True
        if sender.hub is None:
            touch()
        else:
            sender.hub.call_soon(touch)

    def touch_if_ready(**_: Any) -> None:
        # The first heartbeat says that the worker comes online, well before its loop runs; later ones are the loop's.
        if is_ready:
            touch()

    signals.worker_ready.connect(touch_when_running, weak=False)
    signals.heartbeat_sent.connect(touch_if_ready, weak=False)
    signals.beat_init.connect(touch_when_beat_publishes, weak=False)


def age_seconds(path: Path) -> float:
    """How long ago the last beat was; endless if there was none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


if __name__ == "__main__":
    sys.exit(age_seconds(Path(os.environ[VARIABLE])) > OLDEST_SECONDS)
