"""Deploy this release over the one before while orders are placed, and go back again: no saga may be stranded.

    python -m benchmarks.rolling_deploy --orders 240

Four stages on a PostgreSQL and a RabbitMQ of its own: the old release alone; both releases after the database was
migrated; the new release alone; both again, and then the old one alone. In each stage a quarter of the orders is placed
through any web that is up, and each order is then left alone, declined, cancelled, accepted, delivered or refunded.
Every six seconds a child of a worker is killed. At the end every saga must have ended, every order must have the
expected status, and `manage.py verify` of the new release must find nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2

from tests.harness.web import Response, Web
from tests.servers import PrivateServers, children_of, free_port

ROOT = Path(__file__).resolve().parents[1]
#: The last commit of the release before.
RELEASE_BEFORE = "ca8a712"
METHODS = ("pm_card_visa", "pm_sandbox_timeout_after", "pm_sandbox_timeout_before", "pm_card_chargeDeclined")
PLANS = {"leave": 30, "cancel": 20, "accept": 15, "complete": 20, "refund": 15}
#: The status each plan leads to, if the card is not declined.
ENDS = {
    "leave": "CREATED", "cancel": "CANCELLED", "accept": "ACCEPTED", "complete": "COMPLETED", "refund": "CANCELLED",
}  # fmt: skip
CLIENTS = 6
KILL_EVERY_SECONDS = 6.0
PATIENCE_SECONDS = 180.0
SETTINGS = {
    "CAMPUSG_BOOTSTRAP": "0", "CAMPUSG_ALLOW_SANDBOX_PAYMENTS": "1", "CAMPUSG_SAGA_SWEEP_SECONDS": "1",
    "CAMPUSG_TIMER_SWEEP_SECONDS": "2", "CAMPUSG_STEP_RETRY_DELAY_SECONDS": "0.5", "CAMPUSG_STEP_RETRIES": "8",
    "CAMPUSG_RATE_READ": "", "CAMPUSG_RATE_WRITE": "", "CAMPUSG_RATE_ANONYMOUS": "", "CAMPUSG_LOG_LEVEL": "WARNING",
    "CAMPUSG_RECONCILE_SECONDS": "86400", "CAMPUSG_ENV_FILE": os.devnull, "DJANGO_SETTINGS_MODULE": "campusg.settings",
}  # fmt: skip
CELERY = ["-m", "celery", "-A", "campusg.celery"]
UVICORN = [
    "-m",
    "uvicorn",
    "campusg.asgi:application",
    "--host",
    "127.0.0.1",
    "--lifespan",
    "off",
    "--log-level",
    "warning",
]


@dataclass
class Release:
    """The code of one release in a folder, and the processes that run it."""

    name: str
    folder: Path
    environment: dict[str, str]
    logs: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    port: int = 0

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(arguments)} exits {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        self.port = free_port()
        worker = [
            *CELERY,
            "worker",
            "-P",
            "prefork",
            "-c",
            "2",
            "--without-gossip",
            "--without-mingle",
            "-l",
            "WARNING",
        ]
        for number in (1, 2):
            self._start([*worker, "-n", f"{self.name}{number}@localhost"])
        self._start([*CELERY, "beat", "-l", "WARNING", "--pidfile="])
        self._start([*UVICORN, "--port", str(self.port)])
        Web(self.port).wait_until_up()

    def _start(self, arguments: list[str]) -> None:
        with (self.logs / f"{self.name}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, *arguments], cwd=self.folder, env=self.environment, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )
            )  # fmt: skip

    def stop(self) -> None:
        """As in a deploy: each process is asked to end, and killed if it does not."""
        self.port = 0
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()


@dataclass
class Order:
    method: str
    plan: str
    id: str = ""

    @property
    def end(self) -> str:
        return "FAILED" if self.method == "pm_card_chargeDeclined" else ENDS[self.plan]


@dataclass
class Clients:
    """A customer, a runner and an operator. They repeat a request, to any web that is up, until it is answered."""

    releases: list[Release]
    tokens: dict[str, str]
    chance: random.Random
    responses: Counter[str] = field(default_factory=Counter)

    def serve(self, order: Order) -> None:
        body = {
            "customer_id": "ann", "payment_method": order.method,
            "order_details": {"foodItems": [{"name": "Soup", "price": 4.5, "quantity": 2}]},
        }  # fmt: skip
        order.id = self._insist("ann", "POST", "/api/orders", body).body["order_id"]
        if order.plan == "leave" or order.end == "FAILED":
            return
        if order.plan == "cancel":
            time.sleep(self.chance.uniform(0, 2))
            self._insist("ann", "POST", f"/api/orders/{order.id}/cancel", {})
            return
        self._insist("rosa", "POST", f"/api/orders/{order.id}/accept", {})
        if order.plan in ("complete", "refund"):
            self._insist("rosa", "POST", f"/api/orders/{order.id}/complete", {})
        if order.plan == "refund":
            self._insist("olga", "POST", f"/api/orders/{order.id}/cancel", {"reason_code": "other", "reason": "Cold"})

    def _insist(self, who: str, method: str, path: str, body: object) -> Response:
        """Repeat the request until it is granted: an order may not be created yet, or still be paid."""
        key, deadline = secrets.token_hex(8), time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            up = [release.port for release in self.releases if release.port]
            try:
                response = Web(self.chance.choice(up), self.tokens[who]).request(
                    method, path, body, key=key, timeout=20
                )
            except (OSError, IndexError):
                time.sleep(0.5)  # no web is up, or it went away
                continue
            self.responses[f"{method} {path.rsplit('/', 1)[-1]} {response.status}"] += 1
            if response.status < 300 or response.body.get("code") == "saga.already_cancelling":
                return response
            key = key if response.status >= 500 else secrets.token_hex(8)
            time.sleep(0.5)
        raise SystemExit(f"{who} was never granted {method} {path}")


@contextmanager
def killer(releases: list[Release], chance: random.Random) -> Iterator[Counter[str]]:
    """Kill a child of a worker every few seconds."""
    kills: Counter[str] = Counter()
    is_over = threading.Event()

    def kill() -> None:
        while not is_over.wait(KILL_EVERY_SECONDS):
            up = [(release, child) for release in releases for process in release.processes[:2]
                  for child in children_of(process.pid)]  # fmt: skip
            if up:
                release, child = chance.choice(up)
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                kills[release.name] += 1

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield kills
    finally:
        is_over.set()
        thread.join()


def unpack(commit: str, folder: Path) -> Path:
    """The code of a commit."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    subprocess.run(["git", "archive", "-o", str(archive), commit], cwd=ROOT, check=True)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder


def run(orders: list[Order], chance: random.Random, before: str) -> int:
    with PrivateServers(["postgres", "rabbitmq"]) as servers, ExitStack() as stack:
        if servers.missing:
            raise SystemExit(f"Cannot run: {servers.missing}")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rolling-")))
        environment = os.environ | SETTINGS | {
            "DATABASE_URL": servers.urls["postgres"], "BROKER_URL": servers.urls["rabbitmq"], "REDIS_URL": "",
            "SECRET_KEY": secrets.token_urlsafe(48), "CAMPUSG_VAR_DIR": str(folder / "var"),
        }  # fmt: skip
        old = Release("old", unpack(before, folder / "old"), environment, folder)
        new = Release("new", ROOT, environment, folder)
        for release in (old, new):
            stack.callback(release.stop)
        old.manage("migrate", "-v", "0")
        roles = {"ann": "customer", "rosa": "runner", "olga": "operator"}
        tokens = {who: old.manage("token", who, "--role", role).strip() for who, role in roles.items()}
        clients = Clients([old, new], tokens, chance)
        with killer([old, new], chance) as kills:
            _deploy_and_go_back(old, new, clients, orders)
            seconds = _wait_for_end(servers.urls["postgres"])
        print(f"at rest {seconds:.1f} s after the last answer; children killed: {dict(kills)}")
        print("answers: " + ", ".join(f"{what} × {count}" for what, count in sorted(clients.responses.items())))
        return _judge(servers.urls["postgres"], new, orders)


def _deploy_and_go_back(old: Release, new: Release, clients: Clients, orders: list[Order]) -> None:
    quarter = -(-len(orders) // 4)
    stages = [orders[start : start + quarter] for start in range(0, len(orders), quarter)]
    old.start()
    _serve("old alone", clients, stages[0])
    began = time.monotonic()
    new.manage("migrate", "-v", "0")
    print(f"migrated in {time.monotonic() - began:.1f} s while the old release worked")
    new.start()
    _serve("old and new", clients, stages[1])
    old.stop()
    _serve("new alone", clients, stages[2])
    old.start()
    half = len(stages[3]) // 2
    _serve("old and new again", clients, stages[3][:half])
    new.stop()
    _serve("old alone again", clients, stages[3][half:])


def _serve(stage: str, clients: Clients, orders: list[Order]) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(clients.serve, orders))
    print(f"{stage}: {len(orders)} orders in {time.monotonic() - began:.1f} s", flush=True)


def _wait_for_end(url: str) -> float:
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_SECONDS:
        if not _query(
            url, "SELECT 1 FROM sagas_sagainstance WHERE status IN ('STARTED', 'COMPENSATING', 'CANCELLING')"
        ):
            break
        time.sleep(0.2)
    return time.monotonic() - began


def _judge(url: str, new: Release, orders: list[Order]) -> int:
    """Print what is wrong. Returns how many findings there are."""
    final = "('COMPLETED', 'COMPENSATED', 'CANCELLED', 'FAILED')"
    stranded = _query(
        url, f"SELECT id, name, status, position, error FROM sagas_sagainstance WHERE status NOT IN {final}"
    )
    statuses = dict(_query(url, "SELECT id::text, status FROM orders_order"))
    wrong = [f"order {o.id} ({o.method}, {o.plan}) is {statuses.get(o.id)}, not {o.end}" for o in orders
             if statuses.get(o.id) != o.end]  # fmt: skip
    for found in [*map(str, stranded), *wrong]:
        print(f"  {found}")
    verified = json.loads(new.manage("verify", "--json"))
    print(
        f"{len(orders)} orders: {len(stranded)} stranded, {len(wrong)} with another end, "
        f"{verified['breaches']} breaches of {len(verified['invariants'])} invariants"
    )
    return len(stranded) + len(wrong) + int(verified["breaches"])


def _query(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    finally:
        connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--before", default=RELEASE_BEFORE, help="a commit of the release before")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    plans = chance.choices(list(PLANS), list(PLANS.values()), k=given.orders)
    orders = [Order(chance.choices(METHODS, [6, 2, 2, 2])[0], plan) for plan in plans]
    return 1 if run(orders, chance, given.before) else 0


if __name__ == "__main__":
    sys.exit(main())
