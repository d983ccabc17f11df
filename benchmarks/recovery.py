"""How long it takes until work continues after a crash of a worker, a worker's child, the broker or the database.

    python -m benchmarks.recovery --kills 120 --orders 1000

Starts a PostgreSQL and a RabbitMQ of its own, and two workers, a beat and a web with the default settings. Prints a
table, and exits 1 if a limit is exceeded:

    a busy worker or child killed with -9   its saga's next history event: 99 in 100 within 20 s
    the broker killed and started again     orders placed meanwhile are CREATED: all within 60 s
    the database killed and started again   the next order is accepted: within 3 s
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path
from typing import Any

from benchmarks.scratch import private_servers
from tests.harness.fleet import CELERY, Fleet, wait_for_children
from tests.harness.web import Web
from tests.servers import PrivateServers, free_port

KILL_LIMIT_SECONDS = 20.0
BROKER_LIMIT_SECONDS = 60.0
DATABASE_LIMIT_SECONDS = 3.0
WORKERS, CHILDREN = 2, 6
#: Children killed in one round; every third round kills a whole worker instead.
AT_ONCE = 4
ROUND_SECONDS = 4.0
#: Orders under way at the same time: most children run a call, and no message waits for a free child.
UNDER_WAY = 9
#: The payment provider takes this long for each request.
CALL_SECONDS = 4.0
DATABASE_CRASHES = 5
PATIENCE_SECONDS = 120.0
SETTINGS = {
    "CAMPUSG_RATE_READ": "", "CAMPUSG_RATE_WRITE": "", "CAMPUSG_ALLOWED_HOSTS": "localhost",
    "CAMPUSG_SANDBOX_SLOW_SECONDS": str(CALL_SECONDS),
}  # fmt: skip
SLOW, PLAIN = "pm_sandbox_slow", "pm_card_visa"


@dataclass(frozen=True)
class InterruptedSaga:
    """A saga whose process was killed at `at`, by the database's clock."""

    saga_id: uuid.UUID
    at: datetime
    role: str


@dataclass
class Cluster:
    servers: PrivateServers
    fleet: Fleet
    web: Web
    interrupted: list[InterruptedSaga] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description="How long it takes until work continues after a crash.")
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with private_servers(**SETTINGS) as (servers, environment), Fleet(environment, Path(servers.folder)) as fleet:
        cluster = started(Cluster(servers, fleet, Web(free_port(), token())))
        chance = random.Random(options.seed)
        is_right = [after_kills(cluster, options.kills, chance), after_the_broker(cluster, options.orders)]
        is_right.append(after_the_database(cluster))
    return 0 if all(is_right) else 1


def started(cluster: Cluster) -> Cluster:
    command = [sys.executable, "-m", "uvicorn", "campusg.asgi:application", "--host", "127.0.0.1", "--lifespan", "off"]
    cluster.fleet.start("web", [*command, "--port", str(cluster.web.port), "--no-access-log", "--log-level", "warning"])
    cluster.fleet.start("beat")
    worker = [*CELERY, "worker", "-P", "prefork", "-c", str(CHILDREN), "--without-gossip", "--without-mingle"]
    for _ in range(WORKERS):
        wait_for_children(cluster.fleet.start("worker", [*worker, "-l", "WARNING"]), CHILDREN)
    cluster.web.wait_until_up()
    return cluster


def token() -> str:
    from io import StringIO

    from django.core.management import call_command

    out = StringIO()
    call_command("token", "alice", stdout=out)
    return out.getvalue().strip()


# -- a worker is killed ---------------------------------------------------------------------------------------------
def after_kills(cluster: Cluster, kills: int, chance: random.Random) -> bool:
    is_over = threading.Event()
    customers = threading.Thread(target=keep_busy, args=(is_over,), daemon=True)
    customers.start()
    began, rounds = time.monotonic(), 0
    while len(cluster.interrupted) < kills and time.monotonic() - began < 3 * PATIENCE_SECONDS:
        time.sleep(ROUND_SECONDS)
        cluster.fleet.restart_ended()
        rounds += 1
        kill_some(cluster, chance, whole=rounds % 3 == 0)
    is_over.set()
    customers.join()
    wait_until(lambda: not any(waited(saga) is None for saga in cluster.interrupted))
    for saga in cluster.interrupted:
        explain(saga)
    return report_kills(cluster.interrupted)


def keep_busy(is_over: threading.Event) -> None:
    from django.db import connection

    from sagas.models import SagaInstance
    from sagas.statuses import OPEN

    while not is_over.is_set():
        for _ in range(UNDER_WAY - SagaInstance.objects.filter(status__in=OPEN).count()):
            order(SLOW)
        time.sleep(0.1)
    connection.close()


def order(method: str) -> str:
    from orders.use_cases import place as placing
    from orders.use_cases.place import NewLine, NewOrder

    soup = NewLine(sku=None, name="Soup", price=Decimal("4.50"), quantity=1)
    placed = placing.place(placing.prepare(NewOrder(customer_id="c", lines=[soup], payment_method=method), owner="c"))
    return str(placed.order_id)


def kill_some(cluster: Cluster, chance: random.Random, *, whole: bool) -> None:
    """Kill one busy worker, or some of its busy children, and remember their sagas."""
    from campusg.celery import app

    worker = chance.choice(cluster.fleet.processes["worker"])
    for name, tasks in (app.control.inspect(timeout=2.0, limit=WORKERS).active() or {}).items():
        busy = [task for task in tasks if task["args"] and task["worker_pid"]]
        if not busy or not is_of(busy[0]["worker_pid"], worker.pid):
            continue
        hit = busy if whole else chance.sample(busy, min(AT_ONCE, len(busy)))
        seen = {task["worker_pid"]: last_event(task["args"][0]) for task in hit}
        if whole:
            cluster.fleet.replace("worker", worker)
        else:
            for task in hit:
                with suppress(ProcessLookupError):
                    os.kill(task["worker_pid"], signal.SIGKILL)
        remember(cluster, hit, seen, "worker" if whole else "child")
        sys.stderr.write(f"{len(cluster.interrupted)} sagas lost their process ({name})\n")
        return


def is_of(child: int, parent: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1] == str(parent)
    return False


def last_event(saga_id: str) -> int:
    from sagas.models import SagaInstance

    return int(SagaInstance.objects.values_list("seq", flat=True).get(pk=saga_id))


def remember(cluster: Cluster, hit: list[dict[str, Any]], seen: dict[int, int], role: str) -> None:
    """Remember the sagas that were really interrupted: they recorded nothing between the query and the kill."""
    from sagas.models import SagaInstance
    from sagas.statuses import OPEN
    from sagas.storage import storage

    at = storage().now()
    for task in hit:
        saga = SagaInstance.objects.get(pk=task["args"][0])
        if saga.seq == seen[task["worker_pid"]] and saga.status in OPEN:
            cluster.interrupted.append(InterruptedSaga(saga.pk, at, role))


def waited(interrupted: InterruptedSaga) -> float | None:
    """Seconds from the kill to the saga's next event. None: there is none yet."""
    from sagas.models import SagaEvent

    later = SagaEvent.objects.filter(saga_id=interrupted.saga_id, created_at__gt=interrupted.at).order_by("seq")
    moment = later.values_list("created_at", flat=True).first()
    return (moment - interrupted.at).total_seconds() if moment else None


def explain(interrupted: InterruptedSaga) -> None:
    """Print the history of a saga that took too long to stderr."""
    from sagas.models import SagaEvent, SagaInstance

    seconds = waited(interrupted)
    if seconds is not None and seconds <= KILL_LIMIT_SECONDS:
        return
    saga = SagaInstance.objects.get(pk=interrupted.saga_id)
    when = f"{interrupted.role} killed {interrupted.at:%H:%M:%S}"
    sys.stderr.write(f"{when}, waited {seconds}: {saga.status} {saga.wake_at}\n")
    for event in SagaEvent.objects.filter(saga_id=saga.pk).order_by("seq"):
        sys.stderr.write(f"    {event.created_at:%H:%M:%S.%f} {event.action} {event.step} {event.message[:80]}\n")


def report_kills(sagas: list[InterruptedSaga]) -> bool:
    waits = {
        role: sorted(waited(saga) or math.inf for saga in sagas if saga.role == role) for role in ("child", "worker")
    }
    for role, seconds in waits.items():
        report(f"{role} killed with -9, its saga continues", seconds, KILL_LIMIT_SECONDS)
    everything = sorted(waits["child"] + waits["worker"])
    return report("both", everything, KILL_LIMIT_SECONDS)


# -- a server is killed ---------------------------------------------------------------------------------------------
def after_the_broker(cluster: Cluster, count: int) -> bool:
    from orders.models import Order

    wait_until(is_quiet)
    broker = cluster.servers.running["rabbitmq"]
    broker.kill()
    placed = [order(PLAIN) for _ in range(count)]
    broker.start()
    began = time.monotonic()
    wait_until(lambda: Order.objects.filter(pk__in=placed, status="CREATED").count() == count)
    return report(f"broker killed, {count} orders are CREATED", [time.monotonic() - began], BROKER_LIMIT_SECONDS)


def after_the_database(cluster: Cluster) -> bool:
    from django.db import connections

    waits = []
    for _ in range(DATABASE_CRASHES):
        connections.close_all()
        database = cluster.servers.running["postgres"]
        database.kill()
        time.sleep(1)
        database.start()
        began = time.monotonic()
        wait_until(lambda: is_accepting_orders(cluster.web), step=0.05)
        waits.append(time.monotonic() - began)
        time.sleep(2)
    return report("database killed, the next order is accepted", sorted(waits), DATABASE_LIMIT_SECONDS)


def is_accepting_orders(web: Web) -> bool:
    with suppress(OSError, HTTPException):
        return web.post_order(timeout=10).status == 202
    return False


def is_quiet() -> bool:
    from sagas.models import SagaInstance
    from sagas.statuses import OPEN

    return not SagaInstance.objects.filter(status__in=OPEN).exists()


def wait_until(is_so: Any, *, step: float = 0.25) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so() and time.monotonic() < deadline:
        time.sleep(step)


def report(what: str, seconds: list[float], limit: float) -> bool:
    """Print one line. The limit is for the 99th percentile (nearest rank)."""
    if not seconds:
        return False
    p50, p99 = (seconds[math.ceil(share * len(seconds)) - 1] for share in (0.5, 0.99))
    verdict = "ok" if p99 <= limit else "TOO LONG"
    sys.stdout.write(
        f"{what:45} n {len(seconds):4}  p50 {p50:6.2f} s  p99 {p99:6.2f} s  max {seconds[-1]:6.2f} s  "
        f"limit {limit:.0f} s  {verdict}\n"
    )
    sys.stdout.flush()
    return p99 <= limit


if __name__ == "__main__":
    sys.exit(main())
