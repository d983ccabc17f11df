"""Works that start in the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection


def at_once(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each work in a thread with a database connection of its own; answers what each returned or raised."""
    ready, results = threading.Barrier(len(works)), [None] * len(works)

    def run(index: int) -> None:
        ready.wait()
        try:
            results[index] = works[index]()
        except Exception as error:  # noqa: BLE001 - the caller looks at what was raised
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[index]) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
