"""The command line of `manage.py test`."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field

ENVIRONMENTS = ("embedded", "servers")
#: The most parallel workers, by pytest-xdist's names. More would wait for the longest file.
WORKERS = tuple(f"gw{number}" for number in range(8))
#: With these, pytest needs the terminal for itself.
INTERACTIVE = {"--pdb", "--trace", "-s", "--capture=no"}
LAST_FAILED = {"--last-failed", "--lf"}

DESCRIPTION = """Run the tests in both test environments: embedded (SQLite, in-process broker) and servers (PostgreSQL,
RabbitMQ, Redis). All other arguments go to pytest, such as paths, -k, -m, -x, --last-failed."""


@dataclass(frozen=True)
class Options:
    """What to run; `arguments` are for pytest."""

    environments: tuple[str, ...] = ENVIRONMENTS
    is_quick: bool = False
    workers: int = 0
    arguments: list[str] = field(default_factory=list)


def parse(arguments: list[str]) -> Options:
    """Raises `SystemExit` after a wrong option or `--help`."""
    parser = argparse.ArgumentParser(prog="manage.py test", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--lane", dest="environment", choices=ENVIRONMENTS, help="run one environment only")
    parser.add_argument("--quick", action="store_true", help="embedded, tests of what changed, without the slow ones")
    parser.add_argument(
        "-n", type=int, choices=range(len(WORKERS) + 1), help="parallel workers, 0 for none; default: one for each core"
    )
    known, rest = parser.parse_known_args(arguments)
    default = ENVIRONMENTS[:1] if known.quick else ENVIRONMENTS
    if LAST_FAILED & set(rest):
        rest.append("--last-failed-no-failures=none")
    return Options(
        environments=(known.environment,) if known.environment else default,
        is_quick=known.quick,
        workers=default_workers(rest) if known.n is None else known.n,
        arguments=rest,
    )


def default_workers(arguments: list[str]) -> int:
    """None for few tests, for a terminal, and for tests marked `chaos`, which start many processes and measure time."""
    is_chaos = os.environ.get("CAMPUSG_TEST_CHAOS") == "1" or "chaos" in arguments
    if is_chaos or (INTERACTIVE | LAST_FAILED) & set(arguments):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, len(WORKERS)) if cores > 1 else 0
