"""Orders are placed while the broker or the database is down. The servers belong to these tests only."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chaos.conftest import ENVIRONMENT
from tests.harness.fleet import ROOT, Fleet, wait_for_children
from tests.harness.web import Response, Web
from tests.servers import PrivatePostgres, PrivateRabbitMQ, PrivateServers, free_port

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(180)]

#: The longest time a customer may wait for an answer while the broker is down.
PATIENCE_SECONDS = 6.0
SERVER_ERRORS = (500, 502, 504)


@dataclass
class Cluster:
    """Everything the product needs, for these tests only."""

    postgres: PrivatePostgres
    rabbitmq: PrivateRabbitMQ
    fleet: Fleet
    web: Web

    def judge(self) -> dict[str, Any]:
        """The findings of the oracle, in another process."""
        done = self.run("-m", "tests.harness.judge")
        seen: dict[str, Any] = json.loads(done)
        return seen

    def run(self, *arguments: str) -> str:
        environment = {**self.fleet.environment, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def wait_until_quiet(self, *, seconds: float = 90) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (seen := self.judge())["open"]:
            self.fleet.restart_ended()
            assert time.monotonic() < deadline, f"{seen}\n{self.fleet.log_ends()}"
        return seen


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with PrivateServers(["rabbitmq"]) as servers:
        if servers.missing:
            pytest.skip(str(servers.missing))
        # Durable: an order that was answered with 202 must survive a crash of the database.
        servers.running["postgres"] = postgres = PrivatePostgres(servers.folder, is_durable=True)
        postgres.start()
        rabbitmq = servers.running["rabbitmq"]
        assert isinstance(rabbitmq, PrivateRabbitMQ)
        environment = ENVIRONMENT | {
            "DATABASE_URL": postgres.url, "BROKER_URL": rabbitmq.url, "REDIS_URL": "",
            "SECRET_KEY": secrets.token_urlsafe(48), "CAMPUSG_VAR_DIR": str(folder / "var"),
            "CAMPUSG_RATE_WRITE": "", "CAMPUSG_RATE_ANONYMOUS": "",
        }  # fmt: skip
        with Fleet(environment, folder) as fleet:
            yield _started(Cluster(postgres, rabbitmq, fleet, Web(free_port())))


def _started(cluster: Cluster) -> Cluster:
    cluster.run("manage.py", "migrate", "-v", "0")
    cluster.web = Web(cluster.web.port, cluster.run("manage.py", "token", "alice").strip())
    command = [sys.executable, "-m", "uvicorn", "campusg.asgi:application", "--host", "127.0.0.1", "--lifespan", "off"]
    cluster.fleet.start("web", [*command, "--port", str(cluster.web.port), "--no-access-log", "--log-level", "warning"])
    for role in ("worker", "beat"):
        cluster.fleet.start(role)
    cluster.web.wait_until_up()
    wait_for_children(cluster.fleet.processes["worker"][0], 2)
    return cluster


def test_orders_taken_while_the_broker_is_away_go_through_when_it_is_back(cluster: Cluster) -> None:
    assert cluster.web.post_order().status == 202
    # Wait first: a RabbitMQ that is killed while it declares a quorum queue may start again with a broken one.
    cluster.wait_until_quiet()
    cluster.rabbitmq.kill()
    responses = [cluster.web.post_order() for _ in range(5)]
    assert [response.status for response in responses] == [202] * 5
    assert max(response.seconds for response in responses) < PATIENCE_SECONDS
    cluster.rabbitmq.start()
    seen = cluster.wait_until_quiet()
    assert seen["breaches"] == []
    assert {seen["order_ids"][response.body["order_id"]] for response in responses} == {"CREATED"}


def test_a_stopped_database_is_503_and_never_half_an_order(cluster: Cluster) -> None:
    before = cluster.wait_until_quiet()
    cluster.postgres.stop()
    responses = [cluster.web.post_order() for _ in range(3)]
    assert [response.status for response in responses] == [503] * 3
    assert all(int(response.headers["retry-after"]) > 0 for response in responses)
    assert {response.body["code"] for response in responses} == {"database.unavailable"}
    cluster.postgres.start()
    after = cluster.wait_until_quiet()
    assert after["breaches"] == []
    assert after["order_ids"].keys() == before["order_ids"].keys()
    assert cluster.web.post_order().status == 202


def test_a_crash_of_the_database_leaves_no_order_half_written(cluster: Cluster) -> None:
    """A 202 means an order; a 503 means a complete order or none."""
    responses: list[Response] = []
    is_over = threading.Event()
    customers = [threading.Thread(target=_keep_ordering, args=(cluster.web, responses, is_over)) for _ in range(4)]
    for customer in customers:
        customer.start()
    for _ in range(3):
        time.sleep(2)
        cluster.postgres.kill()
        cluster.postgres.start()
    time.sleep(2)
    is_over.set()
    for customer in customers:
        customer.join()
    seen = cluster.wait_until_quiet()
    statuses = Counter(response.status for response in responses)
    assert not statuses.keys() & set(SERVER_ERRORS), statuses
    assert statuses[202] > 0
    assert seen["breaches"] == []
    assert {seen["order_ids"].get(a.body["order_id"], "lost") for a in responses if a.status == 202} == {"CREATED"}
    assert all("retry-after" in response.headers for response in responses if response.status == 503)


def _keep_ordering(web: Web, responses: list[Response], is_over: threading.Event) -> None:
    while not is_over.is_set():
        responses.append(web.post_order())
        time.sleep(0.05)
