from __future__ import annotations

import argparse
import secrets
import signal
import sys
from pathlib import Path

import benchmarks.soak
from benchmarks.soak.cluster import city

ORDERS_PER_SECOND = 12.0
#: However few the orders are, they come over at least so long: a deploy and a few crashes must fit in.
SHORTEST_SECONDS = 100.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=benchmarks.soak.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rate", type=float, default=ORDERS_PER_SECOND, help="orders a second, at most")
    parser.add_argument("--plain", action="store_true", help="a plain Celery chain with link_error instead of sagas")
    parser.add_argument("--acks", choices=["early", "late"], default="early", help="of the plain chain's tasks")
    parser.add_argument("--calm", action="store_true", help="no faults and no deploy, to see what the city can do")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # and so everything it started
    rate = options.rate if options.calm else min(options.rate, options.orders / SHORTEST_SECONDS)
    with city(is_plain=options.plain, acks=options.acks) as place:
        from benchmarks.soak.run import Run  # reads the models, so not before Django is set up

        report = Run(place, orders=options.orders, seed=options.seed, rate=rate, is_calm=options.calm).play()
        print(report.table(), flush=True)
        if options.json:
            report.write(options.json)
    return 0 if options.plain or report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
