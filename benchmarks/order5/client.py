"""Starts one saga for each order id that it reads from standard input; each line is one batch."""

from __future__ import annotations

import sys
from collections.abc import Callable


def main() -> None:
    start = {"engine": _engine, "bare": _bare}[sys.argv[1]]()
    is_refused = sys.argv[2] == "1"
    for line in sys.stdin:
        for order_id in line.split():
            start(order_id, is_refused)


def _bare() -> Callable[[str, bool], None]:
    from benchmarks.order5 import bare

    return lambda order_id, is_refused: bare.start(order_id, is_refused=is_refused)


def _engine() -> Callable[[str, bool], None]:
    import django

    django.setup()
    from django.db import transaction

    from benchmarks.order5.sagas import Order5, order5
    from sagas.engine import commands

    def start(order_id: str, is_refused: bool) -> None:
        with transaction.atomic():
            commands.start(order5, input=Order5(order_id, is_refused), key=order_id, subject=order_id)

    return start


if __name__ == "__main__":
    main()
