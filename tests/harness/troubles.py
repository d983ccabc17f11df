"""Troubles on order: a file names what shall happen to one step of one order, in whatever process runs it.

A file and not a row, because a trouble must be remembered when the transaction it strikes in is gone.
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
LONG_ENOUGH_TO_BE_MET = 4.0


def folder() -> Path | None:
    given = os.environ.get("CHAOS_TROUBLES")
    return Path(given) if given else None


def order_one(
    where: Path, step: str, order_id: str, kind: str, *, moment: str = "before", forever: bool = False
) -> None:
    """Have `kind` happen `before` or `after` the effect of `step`, once or every time."""
    where.mkdir(exist_ok=True)
    (where / f"{step}.{order_id}").write_text(f"{kind} {moment} {'forever' if forever else 'once'}")


def call_off(where: Path, step: str, order_id: str) -> None:
    (where / f"{step}.{order_id}").unlink(missing_ok=True)


def has_struck(where: Path, step: str, order_id: str) -> bool:
    return (where / f"{step}.{order_id}.struck").exists()


def troubled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The step function, to which a trouble may happen. Same name, same signature, same task."""
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
    ordered = where / f"{step}.{order_id}"
    try:
        kind, moment, how_often = ordered.read_text().split()
        if how_often == "once":
            ordered.rename(f"{ordered}.struck")  # before it strikes, so that it strikes once
        else:
            Path(f"{ordered}.struck").touch()
    except FileNotFoundError:
        return "", ""
    return kind, moment


# -- what can happen ------------------------------------------------------------------------------------------------
def _raise() -> NoReturn:
    raise RuntimeError("Trouble was ordered.")


def _run_out_of_memory() -> NoReturn:
    raise MemoryError("Trouble was ordered.")


def _kill_child() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_worker() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _exit() -> None:
    os._exit(1)


def _hang() -> None:
    time.sleep(LONGER_THAN_ANY_LIMIT)


def _dawdle() -> None:
    time.sleep(LONG_ENOUGH_TO_BE_MET)


KINDS: dict[str, Callable[[], Any]] = {
    "raise": _raise,
    "run_out_of_memory": _run_out_of_memory,
    "kill_child": _kill_child,
    "kill_worker": _kill_worker,
    "exit": _exit,
    "hang": _hang,
    "dawdle": _dawdle,
}
