"""All processes and servers of a run. The servers are behind proxies that can cut and stall connections."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.provider import PrivateProvider
from tests.harness.fleet import COMMANDS, ROOT, Fleet
from tests.harness.proxy import Proxy
from tests.harness.web import Web
from tests.servers import PrivatePostgres, PrivateServer, PrivateServers, children_of, free_port

WORKER_CHILDREN = 2
SETTLED_SECONDS = 3.0
WEB_ADDRESS = "127.0.0.1"
UVICORN = [sys.executable, "-m", "uvicorn", "campusg.asgi:application", "--host", WEB_ADDRESS, "--lifespan", "off"]
QUIET = ["--no-access-log", "--log-level", "warning"]
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "benchmarks.soak.settings", "CAMPUSG_BOOTSTRAP": "0", "CAMPUSG_LOG_LEVEL": "WARNING",
    "CAMPUSG_SAGA_SWEEP_SECONDS": "1", "CAMPUSG_TIMER_SWEEP_SECONDS": "2", "CAMPUSG_STEP_RETRY_DELAY_SECONDS": "0.5",
    "CAMPUSG_STEP_RETRIES": "8", "CAMPUSG_ALLOW_SANDBOX_PAYMENTS": "1", "CAMPUSG_RATE_READ": "",
    "CAMPUSG_RATE_WRITE": "", "CAMPUSG_RATE_ANONYMOUS": "", "CAMPUSG_WEB_THREADS": "4", "CAMPUSG_DELIVERY_FEE": "2.50",
    "PLATFORM_FEE_BASIS_POINTS": "700",
    # On a busy machine with constant faults an order may take minutes. It must not fail because of that.
    "CAMPUSG_SAGA_DEADLINE_SECONDS": "600",
    # The reconciliation must not repair what the sagas did wrong before the oracle sees it.
    "CAMPUSG_RECONCILE_SECONDS": "86400",
}  # fmt: skip
PLAIN_ENVIRONMENT = {"SOAK_PLAIN": "1"}
#: The only queue of the plain chain.
PLAIN_QUEUE = "celery"
PLAIN_WORKER = [word.replace("campusg.celery", "benchmarks.soak.plain.app") for word in COMMANDS["worker"]]


@dataclass
class Cluster:
    """The processes under test, their servers, and the ports of both webs."""

    servers: dict[str, PrivateServer]
    proxies: dict[str, Proxy]
    fleet: Fleet
    web_ports: list[int]
    is_plain: bool = False
    ended: list[str] = field(default_factory=list)
    _at_work_since: dict[int, float] = field(default_factory=dict)

    def supervise(self) -> None:
        """Start processes that ended by themselves again, as a supervisor does, and remember which workers are up."""
        for one in self.fleet.restart_ended():
            self.ended.append(one)
            print(f"  {one[:200]}", flush=True)
        for worker in list(self.fleet.processes.get("worker", [])):
            if worker.pid not in self._at_work_since and len(children_of(worker.pid)) >= WORKER_CHILDREN:
                self._at_work_since[worker.pid] = time.monotonic()

    def workers_at_work(self) -> list[subprocess.Popen[bytes]]:
        """Workers that have been up for a while. To kill one that is still starting would test nothing."""
        before = time.monotonic() - SETTLED_SECONDS
        workers = list(self.fleet.processes.get("worker", []))
        return [worker for worker in workers if self._at_work_since.get(worker.pid, before + 1) < before]

    def webs(self, token: str) -> list[Web]:
        return [Web(port, token) for port in self.web_ports]


@contextmanager
def start_cluster(*, is_plain: bool, acks: str) -> Iterator[Cluster]:
    """Start everything and wait until it is ready. Nothing is left at the end."""
    with ExitStack() as stack:
        servers = stack.enter_context(PrivateServers(["rabbitmq", "redis"]))
        if servers.missing:
            sys.exit(f"cannot run: {servers.missing}")
        folder = servers.folder / "processes"
        folder.mkdir()
        _start(servers, PrivatePostgres(servers.folder, servers.reaper, is_durable=True))
        provider = PrivateProvider(servers.folder, servers.reaper)
        _start(servers, provider)
        proxies = {name: stack.enter_context(Proxy(server.port)) for name, server in servers.running.items()}
        environment = ENVIRONMENT | _addresses(servers, proxies, folder)
        environment |= PLAIN_ENVIRONMENT | {"SOAK_ACKS": acks} if is_plain else {}
        _set_up(environment, servers.urls["postgres"], provider.ledger)
        commands = {"worker": PLAIN_WORKER} if is_plain else COMMANDS
        environment |= {"SOAK_PROVIDER_LEDGER": ""}
        fleet = stack.enter_context(Fleet(environment, folder, commands, servers.reaper))
        cluster = Cluster(servers.running, proxies, fleet, [free_port(), free_port()], is_plain)
        _start_processes(cluster)
        yield cluster


def _start(servers: PrivateServers, server: PrivateServer) -> None:
    servers.running[server.name] = server
    server.start()


def _addresses(servers: PrivateServers, proxies: dict[str, Proxy], folder: Path) -> dict[str, str]:
    def through(name: str) -> str:
        return servers.urls[name].replace(f":{servers.running[name].port}", f":{proxies[name].port}")

    return {
        "SECRET_KEY": secrets.token_urlsafe(48), "CAMPUSG_VAR_DIR": str(folder / "var"),
        "DATABASE_URL": through("postgres"), "REDIS_URL": through("redis"), "BROKER_URL": through("rabbitmq"),
        "STRIPE_API_BASE": through("provider"),
    }  # fmt: skip


def _set_up(environment: dict[str, str], database_url: str, ledger: Path) -> None:
    """Create the schema and the menu. This process connects to the database without a proxy.

    It runs the second release, which has both versions of the saga, so that it can judge the sagas of both.
    """
    direct = {"DATABASE_URL": database_url, "SOAK_PROVIDER_LEDGER": str(ledger), "SOAK_RELEASE": "2"}
    os.environ.update(environment | direct)
    subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, check=True)
    import django

    django.setup()
    from django.db import connection

    from benchmarks.soak.plain.tasks import RUNS
    from tests.harness import customers

    customers.stock_the_kitchen()
    with connection.cursor() as cursor:
        cursor.execute(RUNS)


def _start_processes(cluster: Cluster) -> None:
    fleet = cluster.fleet
    fleet.environment = {**fleet.environment, "SOAK_RELEASE": "1"}
    for port in cluster.web_ports:
        fleet.start("web", [*UVICORN, "--port", str(port), *QUIET])
    for role in fleet.commands:
        fleet.start(role)
        fleet.start(role)
    for web in cluster.webs(""):
        web.wait_until_up()
