"""The soak: people order through two webs while everything underneath is killed, cut, stalled and stopped.

    python -m benchmarks.soak --orders 500 --seed 1

Starts a PostgreSQL, a RabbitMQ and a Redis of its own behind proxies, two workers, two beats and two webs, and every
2 to 10 seconds a fault from the seed. The oracle then reads the rows and the payment provider's ledger over a
connection of its own. Prints one table; exits 1 on any breach.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from kombu import Connection

from campusg.servers import PrivatePostgres, PrivateServer, PrivateServers, free_port
from campusg.topology import COMMAND_QUEUES
from tests.chaos.fleet import ROOT, Fleet
from tests.chaos.proxy import Proxy
from tests.chaos.web import Answer, Web

ORDERS_PER_SECOND = 5.0
PAUSE_SECONDS = (2.0, 10.0)
QUIET_WITHIN_SECONDS = 60
#: How long a client goes on repeating a request that was not answered.
CLIENT_PATIENCE_SECONDS = 60
ZOMBIE_SECONDS = 8.0
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "CAMPUSG_SAGA_SWEEP_SECONDS": "1", "CAMPUSG_BOOTSTRAP": "0",
    "CAMPUSG_STEP_RETRY_DELAY_SECONDS": "0.5", "CAMPUSG_STEP_RETRIES": "8", "CAMPUSG_LOG_LEVEL": "WARNING",
    "CAMPUSG_ALLOW_SANDBOX_PAYMENTS": "1", "CAMPUSG_RATE_READ": "", "CAMPUSG_RATE_WRITE": "",
    "CAMPUSG_RATE_ANONYMOUS": "", "CAMPUSG_WEB_THREADS": "4",
}  # fmt: skip


@dataclass
class City:
    """All processes and servers, and what can be done to them."""

    servers: dict[str, PrivateServer]
    proxies: dict[str, Proxy]
    fleet: Fleet
    webs: list[Web]
    chance: random.Random
    faults: Counter[str] = field(default_factory=Counter)

    def strike(self) -> None:
        name = self.chance.choices(list(FAULTS), weights=[WEIGHTS.get(name, 1) for name in FAULTS])[0]
        FAULTS[name](self)
        self.faults[name] += 1

    def supervise(self) -> None:
        """Start again what ended by itself, as a supervisor would."""
        for fallen in self.fleet.restart_the_fallen():
            self.faults["fell by itself"] += 1
            print(fallen, flush=True)

    def restart(self, name: str) -> None:
        """As a power cut would, and back again."""
        self.servers[name].kill()
        time.sleep(self.chance.uniform(0, 2))
        self.servers[name].start()

    def purge(self) -> None:
        with Connection(self.servers["rabbitmq"].url) as connection, connection.channel() as channel:
            for name in COMMAND_QUEUES:
                channel.queue_purge(name)

    def make_a_zombie(self) -> None:
        """A worker stands still past its leases, with whatever it holds, and then goes on as if nothing had been."""
        worker = self.chance.choice(self.fleet.processes["worker"])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGSTOP)
            time.sleep(ZOMBIE_SECONDS)
            os.killpg(worker.pid, signal.SIGCONT)

    def slow_down(self, name: str) -> None:
        self.proxies[name].latency_seconds = 0.05
        time.sleep(3)
        self.proxies[name].latency_seconds = 0.0

    def kill_web(self) -> None:
        web = self.chance.choice(self.fleet.processes["web"])
        command = list(web.args)  # type: ignore[arg-type]
        self.fleet.kills["web"] += 1
        self.fleet.stop("web", web)
        self.fleet.start("web", command)


FAULTS: dict[str, Callable[[City], Any]] = {
    "worker killed": lambda city: city.fleet.kill_any("worker", city.chance),
    "child killed": lambda city: city.fleet.kill_any_child(city.chance),
    "beat killed": lambda city: city.fleet.kill_any("beat", city.chance),
    "web killed": City.kill_web,
    "broker crashed": lambda city: city.restart("rabbitmq"),
    "broker purged": City.purge,
    "broker connections cut": lambda city: city.proxies["rabbitmq"].cut(),
    "broker stalled": lambda city: city.proxies["rabbitmq"].stall(4),
    "database crashed": lambda city: city.restart("postgres"),
    "database connections cut": lambda city: city.proxies["postgres"].cut(),
    "database slow": lambda city: city.slow_down("postgres"),
    "redis crashed": lambda city: city.restart("redis"),
    "worker stopped past its lease": City.make_a_zombie,
}
#: How often a fault strikes beside the others; 1 when it is not named.
WEIGHTS = {"worker killed": 4, "child killed": 3}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rate", type=float, default=ORDERS_PER_SECOND, help="orders a second")
    parser.add_argument(
        "--pause", type=float, nargs=2, default=PAUSE_SECONDS, help="seconds between faults, from and to"
    )
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with city(chance) as place:
        sys.exit(soak(place, options))


@contextmanager
def city(chance: random.Random) -> Iterator[City]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campusg-soak-")))
        servers = stack.enter_context(PrivateServers(["rabbitmq", "redis"]))
        if servers.missing:
            sys.exit(f"cannot run: {servers.missing}")
        servers.running["postgres"] = PrivatePostgres(servers.folder, is_durable=True)
        servers.running["postgres"].start()
        proxies = {name: stack.enter_context(Proxy(server.port)) for name, server in servers.running.items()}
        environment = SETTINGS | {
            "SECRET_KEY": secrets.token_urlsafe(48), "CAMPUSG_VAR_DIR": str(folder / "var"),
            "DATABASE_URL": _through("postgres", servers, proxies), "REDIS_URL": _through("redis", servers, proxies),
            "BROKER_URL": _through("rabbitmq", servers, proxies),
        }  # fmt: skip
        _set_up(environment, servers.urls["postgres"])
        fleet = stack.enter_context(Fleet(environment, folder))
        yield City(servers.running, proxies, fleet, _started(fleet), chance)


def _through(name: str, servers: PrivateServers, proxies: dict[str, Proxy]) -> str:
    return servers.urls[name].replace(f":{servers.running[name].port}", f":{proxies[name].port}")


def _set_up(environment: dict[str, str], database_url: str) -> None:
    """This process reads the database past the proxy; it also makes the schema and the menu."""
    os.environ.update(environment | {"DATABASE_URL": database_url})
    subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=ROOT, check=True)
    import django

    django.setup()
    from tests.chaos import customers

    customers.stock_the_kitchen()


def _started(fleet: Fleet) -> list[Web]:
    from campusg import accounts

    webs = []
    for _ in range(2):
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "campusg.asgi:application",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        fleet.start("web", [*command, "--lifespan", "off", "--no-access-log", "--log-level", "warning"])
        webs.append(Web(port, accounts.fresh_token(accounts.ensure_user("alice"))))
    for role in ("worker", "worker", "beat", "beat"):
        fleet.start(role)
    for web in webs:
        web.wait_until_up()
    return webs


@dataclass
class People:
    """Clients that repeat what was not answered, under the same Idempotency-Key, at either web."""

    webs: list[Web]
    answers: Counter[str] = field(default_factory=Counter)

    def live(self, wish: Any, began: float) -> None:
        time.sleep(max(0.0, began + wish.at - time.monotonic()))
        answer = self._persist("/api/orders", _body(wish), wish.number)
        self.answers[f"order answered {answer.status if answer else 'never'}"] += 1
        if answer is None or answer.status != 202:
            wish.refusal = str(answer and answer.body.get("code"))
            return
        wish.order_id = answer.body["order_id"]
        if wish.cancels_after is not None:
            time.sleep(wish.cancels_after)
            answer = self._persist(
                f"/api/orders/{wish.order_id}/cancel", {"reason_code": "customer_request"}, wish.number
            )
            self.answers[f"cancel answered {answer.status if answer else 'never'}"] += 1
            wish.is_cancelled = answer is not None and answer.status < 300

    def _persist(self, path: str, body: object, number: int) -> Answer | None:
        key = secrets.token_hex(16)
        give_up_at = time.monotonic() + CLIENT_PATIENCE_SECONDS
        turn = number
        while time.monotonic() < give_up_at:
            turn += 1
            try:
                answer = self.webs[turn % 2].ask("POST", path, body, timeout=15, key=key)
            except (OSError, HTTPException, ValueError):
                answer = None
            if answer is not None and answer.status < 500 and answer.body.get("code") != IN_PROGRESS:
                return answer
            self.answers[f"repeated after {answer.status if answer else 'no answer'}"] += 1
            time.sleep(0.5)
        return None


IN_PROGRESS = "idempotency.in_progress"


def _body(wish: Any) -> dict[str, Any]:
    items = [
        {"productId": line.sku, "productName": line.name, "quantity": line.quantity, "price": str(line.price)}
        for line in wish.lines
    ]
    return {"userId": "alice", "payment_method": wish.method, "items": [_trimmed(item) for item in items]}


def _trimmed(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None}


def soak(place: City, options: argparse.Namespace) -> int:
    from tests.chaos import customers, oracle

    wishes = customers.wishes(options.orders, over_seconds=options.orders / options.rate, chance=place.chance)
    people = People(place.webs)
    began = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        lives = [pool.submit(people.live, wish, began) for wish in wishes]
        while not all(life.done() for life in lives):
            time.sleep(place.chance.uniform(*options.pause))
            place.strike()
            place.supervise()
    for life in lives:
        life.result()
    ordered, quiet = time.monotonic() - began, _wait_until_quiet(place)
    seen = oracle.snapshot()
    breaches = oracle.judge(seen) + _wrong_fates(wishes, seen)
    print(_table(place, people, seen, breaches, seed=options.seed, ordered=ordered, quiet=quiet), flush=True)
    for breach in breaches[:40]:
        print(breach)
    return 1 if breaches else 0


def _wait_until_quiet(place: City) -> float:
    from django.db import connections

    from sagas.models import OPEN, SagaEvent, SagaInstance

    connections.close_all()  # the server behind it may have crashed since
    began = time.monotonic()
    unsent = SagaEvent.objects.filter(published_at=None).exclude(type="")
    while time.monotonic() - began < QUIET_WITHIN_SECONDS:
        if not SagaInstance.objects.filter(status__in=OPEN).exists() and not unsent.exists():
            break
        place.supervise()
        time.sleep(0.5)
    return time.monotonic() - began


def _wrong_fates(wishes: list[Any], seen: Any) -> list[Any]:
    from tests.chaos import customers, oracle

    orders = {str(order.pk): order for order in seen.orders.values()}
    breaches = []
    for wish in wishes:
        order = orders.get(wish.order_id)
        if wish.order_id:
            found = order.status if order else "lost"
            wanted = customers.expected_status(wish, order.reason_code if order else "")
            if found != wanted:
                detail = f"{found} instead of {wanted}, paid with {wish.method}: {order.reason if order else ''}"
                breaches.append(oracle.Breach("wrong fate", wish.order_id, detail))
    if len(orders) > sum(bool(wish.order_id) for wish in wishes):
        unknown = orders.keys() - {wish.order_id for wish in wishes}
        breaches += [oracle.Breach("order nobody was told of", one, orders[one].status) for one in unknown]
    return breaches


def _table(
    place: City, people: People, seen: Any, breaches: list[Any], *, seed: int, ordered: float, quiet: float
) -> str:
    from tests.chaos import oracle

    by_order, by_saga = oracle.statuses(seen)
    actions = Counter(event.action for events in seen.events.values() for event in events)
    rows = [("seed", seed), *sorted(people.answers.items()), *sorted(place.faults.items())]
    rows += [
        (f"history: {action}", actions[action])
        for action in ("redriven", "step_timed_out", "undo_timed_out", "step_fenced", "undo_fenced")
    ]
    rows += [(f"orders {status}", count) for status, count in sorted(by_order.items())]
    rows += [(f"sagas {status}", count) for status, count in sorted(by_saga.items())]
    rows += [
        ("seconds of ordering", round(ordered)),
        ("seconds until quiet", round(quiet)),
        ("breaches", len(breaches)),
    ]
    return "\n".join(f"  {name:<40} {value!s:>8}" for name, value in rows)


if __name__ == "__main__":
    main()
