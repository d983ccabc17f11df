"""Faults in steps: a file names the fault and the step of one order. Any process that runs this step has the fault.

A file and not a row: a row would be lost when the transaction of the step is rolled back.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

LONGER_THAN_ANY_LIMIT = 30.0
#: Long enough for a test to act while the step runs.
SLOW_SECONDS = 4.0


def folder() -> Path | None:
    given = os.environ.get("CHAOS_STEP_FAULTS")
    return Path(given) if given else None


def add(where: Path, step: str, order_id: str, kind: str, *, moment: str = "before", forever: bool = False) -> None:
    """Let a fault of this kind happen `before` or `after` the effect of `step`, once or every time."""
    where.mkdir(exist_ok=True)
    (where / f"{step}.{order_id}").write_text(f"{kind} {moment} {'forever' if forever else 'once'}")


def remove(where: Path, step: str, order_id: str) -> None:
    (where / f"{step}.{order_id}").unlink(missing_ok=True)


def has_happened(where: Path, step: str, order_id: str) -> bool:
    return (where / f"{step}.{order_id}.happened").exists()


def with_faults(function: Callable[..., Any]) -> Callable[..., Any]:
    """The step function with the faults added for it. It keeps its name, its signature and its task."""
    where = folder()
    if where is None or "order_id" not in inspect.signature(function).parameters:
        return function

    @functools.wraps(function)
    def step(**given: Any) -> Any:
        kind, moment = _take(where, function.__name__, given["order_id"])
        if moment == "before":
            KINDS[kind]()
        result = function(**given)
        if moment == "after":
            KINDS[kind]()
        return result

    return step


def _take(where: Path, step: str, order_id: str) -> tuple[str, str]:
    """The kind and the moment of this step's fault; two empty texts when it has none."""
    fault = where / f"{step}.{order_id}"
    try:
        kind, moment, how_often = fault.read_text().split()
        if how_often == "once":
            fault.rename(f"{fault}.happened")  # first, so that it happens only once
        else:
            Path(f"{fault}.happened").touch()
    except FileNotFoundError:
        return "", ""
    return kind, moment


# -- the kinds of fault ---------------------------------------------------------------------------------------------
def _raise() -> NoReturn:
    raise RuntimeError("A fault of this test.")


def _run_out_of_memory() -> NoReturn:
    raise MemoryError("A fault of this test.")


def _kill_child() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_worker() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _exit() -> None:
    os._exit(1)


def _hang() -> None:
    time.sleep(LONGER_THAN_ANY_LIMIT)


def _be_slow() -> None:
    time.sleep(SLOW_SECONDS)


KINDS: dict[str, Callable[[], Any]] = {
    "raise": _raise,
    "run_out_of_memory": _run_out_of_memory,
    "kill_child": _kill_child,
    "kill_worker": _kill_worker,
    "exit": _exit,
    "hang": _hang,
    "be_slow": _be_slow,
}
