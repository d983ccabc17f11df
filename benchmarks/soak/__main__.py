from __future__ import annotations

import argparse
import secrets
import signal
import sys
from pathlib import Path

import benchmarks.soak
from benchmarks.soak.cluster import start_cluster

ORDERS_PER_SECOND = 12.0
#: Even a few orders are placed over at least this long, so that there is time for a deploy and some crashes.
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
    parser.add_argument(
        "--acks", choices=["early", "late"], default="early", help="when tasks of the plain chain are acknowledged"
    )
    parser.add_argument("--calm", action="store_true", help="no faults and no deploy, to measure the cluster alone")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # this ends its processes too
    rate = options.rate if options.calm else min(options.rate, options.orders / SHORTEST_SECONDS)
    with start_cluster(is_plain=options.plain, acks=options.acks) as cluster:
        from benchmarks.soak.run import Run  # imports models, so only after Django is set up

        report = Run(cluster, orders=options.orders, seed=options.seed, rate=rate, is_calm=options.calm).execute()
        print(report.table(), flush=True)
        if options.json:
            report.write(options.json)
    return 0 if options.plain or report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
