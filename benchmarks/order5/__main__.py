"""A saga of five steps compared with a plain Celery chain: `python -m benchmarks.order5 --sagas N` or `make bench`.

Starts a PostgreSQL (with fsync) and a RabbitMQ of its own, runs all variants one after another in several rounds, and
prints medians and ratios. Absolute figures depend on the machine; the ratios are the result.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.order5 import work
from tests.servers import PrivatePostgres, PrivateServers

ROOT = Path(__file__).resolve().parents[2]
WORKER_FLAGS = ["worker", "-P", "prefork", "-c", "2", "--without-gossip", "--without-mingle", "-l", "ERROR"]
BATCH_TIMEOUT_SECONDS = 120
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Variant:
    name: str
    app: str
    start: str
    env: dict[str, str] = field(default_factory=dict)
    is_refused: bool = False
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)


VARIANTS = [
    Variant("bare chain (classic queue, no confirms)", "benchmarks.order5.bare", "bare"),
    Variant("engine, run inline", "campusg", "engine"),
    Variant("engine, a message per step", "campusg", "engine", {"CAMPUSG_RUN_INLINE": "0"}),
    Variant("engine, step 4 refuses, 3 undos", "campusg", "engine", is_refused=True),
    Variant("bare chain, step 4 refuses, 3 undos", "benchmarks.order5.bare", "bare", is_refused=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.order5", description=__doc__)
    parser.add_argument("--sagas", type=int, default=1000, help="sagas started at once (default 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--singles", type=int, default=50, help="sagas started one at a time, for latency (default 50)")
    parser.add_argument("--only", help="run only the variants whose name contains this")
    options = parser.parse_args()
    variants = [variant for variant in VARIANTS if not options.only or options.only in variant.name]
    with _servers() as (urls, pids):
        for number in range(1, options.rounds + 1):
            for variant in variants:
                _run(variant, urls, pids, sagas=options.sagas, singles=options.singles)
                print(f"round {number}  {variant.name:<42} {variant.rates[-1]:7.0f} sagas/s", flush=True)
    _report(variants)


@contextmanager
def _servers() -> Iterator[tuple[dict[str, str], Callable[[], set[int]]]]:
    with PrivateServers(["rabbitmq"]) as servers:
        if servers.missing:
            sys.exit(f"cannot run: {servers.missing}")
        postgres = PrivatePostgres(servers.folder, servers.reaper, is_durable=True)
        servers.running["postgres"] = postgres
        postgres.start()
        for name, value in _environment(servers.urls).items():
            os.environ[name] = value
        subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, check=True)
        with psycopg2.connect(postgres.url) as connection, connection.cursor() as cursor:
            cursor.execute(work.SCHEMA)
        yield servers.urls, lambda: {s.process.pid for s in servers.running.values() if s.process}


def _environment(urls: dict[str, str]) -> dict[str, str]:
    return {
        "DATABASE_URL": urls["postgres"], "BROKER_URL": urls["rabbitmq"], "REDIS_URL": "",
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings", "SECRET_KEY": "benchmark-only-" + "x" * 50,
        "CAMPUSG_ALLOW_SANDBOX_PAYMENTS": "1", "CAMPUSG_LOG_LEVEL": "ERROR", "CAMPUSG_WORKER_PREFETCH": "4",
        "CAMPUSG_BOOTSTRAP": "0", "PYTHONPATH": str(ROOT),
    }  # fmt: skip


def _run(variant: Variant, urls: dict[str, str], pids: Callable[[], set[int]], *, sagas: int, singles: int) -> None:
    """Run one round of one variant, with a new worker and a new client process."""
    environment = os.environ | variant.env
    command = [sys.executable, "-m", "celery", "-A", variant.app, *WORKER_FLAGS]
    worker = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    command = [sys.executable, "-m", "benchmarks.order5.client", variant.start, str(int(variant.is_refused))]
    client = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        with closing(psycopg2.connect(urls["postgres"])) as connection:
            connection.autocommit = True
            starter = Starter(connection, client, is_refused=variant.is_refused)
            starter.batch(20)  # warm up
            variant.latencies_ms += [starter.batch(1) * 1000 for _ in range(singles)]
            trees = {*pids(), worker.pid, client.pid}
            before = _cpu_seconds(trees)
            variant.rates.append(sagas / starter.batch(sagas))
            variant.cpu_ms.append((_cpu_seconds(trees) - before) * 1000 / sagas)
    finally:
        for process in (client, worker):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Starter:
    """Lets the client process start sagas, and waits until the last effect of the last saga is committed."""

    def __init__(self, connection: Any, client: subprocess.Popen[str], *, is_refused: bool) -> None:
        self.connection, self.client = connection, client
        self.last_step = -1 if is_refused else work.STEPS

    def batch(self, count: int) -> float:
        """Seconds from the first start to the last end."""
        ids = [str(uuid.uuid4()) for _ in range(count)]
        with self.connection.cursor() as cursor:
            rows = ",".join(f"('{each}', 0, now())" for each in ids)
            cursor.execute(f"INSERT INTO bench_order (id, step, updated_at) VALUES {rows}")
            began = time.perf_counter()
            assert self.client.stdin is not None
            self.client.stdin.write(" ".join(ids) + "\n")
            self.client.stdin.flush()
            self._wait(cursor, ids)
        return time.perf_counter() - began

    def _wait(self, cursor: Any, ids: list[str]) -> None:
        deadline = time.monotonic() + BATCH_TIMEOUT_SECONDS
        pause = 0.001 if len(ids) == 1 else 0.02
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT count(*) FROM bench_order WHERE id = ANY(%s::uuid[]) AND step = %s", [ids, self.last_step]
            )
            if cursor.fetchone()[0] == len(ids):
                return
            time.sleep(pause)
        raise SystemExit(f"the sagas did not end in {BATCH_TIMEOUT_SECONDS} s")


def _cpu_seconds(roots: set[int]) -> float:
    """CPU time of these processes, their descendants, and children that have ended."""
    parents, times = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            times[int(entry.name)] = sum(int(ticks) for ticks in fields[11:15])
    return sum(ticks for pid, ticks in times.items() if _is_below(pid, roots, parents)) / TICKS


def _is_below(pid: int, roots: set[int], parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid in roots:
            return True
        pid = parents.get(pid, 0)
    return False


def _report(variants: list[Variant]) -> None:
    base = statistics.median(variants[0].rates)
    base_cpu = statistics.median(variants[0].cpu_ms)
    base_latency = statistics.median(variants[0].latencies_ms)
    print(f"\n{'variant':<42} {'sagas/s':>8} {'÷ bare':>7} {'CPU ms':>7} {'÷ bare':>7} {'p50 ms':>7} {'÷ bare':>7}")
    for variant in variants:
        rate, cpu = statistics.median(variant.rates), statistics.median(variant.cpu_ms)
        latency = statistics.median(variant.latencies_ms)
        print(
            f"{variant.name:<42} {rate:8.0f} {rate / base:7.2f} {cpu:7.1f} {cpu / base_cpu:7.2f} "
            f"{latency:7.1f} {latency / base_latency:7.2f}"
        )


if __name__ == "__main__":
    main()
