"""The broker or the database is away while people order, on servers that belong to this test alone."""

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
from tests.harness.web import Answer, Web
from tests.servers import PrivatePostgres, PrivateRabbitMQ, PrivateServers, free_port

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(180)]

#: The longest a customer may wait for an answer while the broker is away.
PATIENCE_SECONDS = 6.0
SERVER_ERRORS = (500, 502, 504)


@dataclass
class Place:
    """Everything the product needs, all of it private."""

    postgres: PrivatePostgres
    rabbitmq: PrivateRabbitMQ
    fleet: Fleet
    web: Web

    def judge(self) -> dict[str, Any]:
        """What an oracle in another process sees."""
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
            self.fleet.restart_the_fallen()
            assert time.monotonic() < deadline, f"{seen}\n{self.fleet.last_words()}"
        return seen


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    with PrivateServers(["rabbitmq"]) as servers:
        if servers.missing:
            pytest.skip(str(servers.missing))
        # Durable, because an order that was answered with 202 must survive a crash of the database.
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
            yield _opened(Place(postgres, rabbitmq, fleet, Web(free_port())))


def _opened(place: Place) -> Place:
    place.run("manage.py", "migrate", "-v", "0")
    place.web = Web(place.web.port, place.run("manage.py", "token", "alice").strip())
    command = [sys.executable, "-m", "uvicorn", "campusg.asgi:application", "--host", "127.0.0.1", "--lifespan", "off"]
    place.fleet.start("web", [*command, "--port", str(place.web.port), "--no-access-log", "--log-level", "warning"])
    for role in ("worker", "beat"):
        place.fleet.start(role)
    place.web.wait_until_up()
    wait_for_children(place.fleet.processes["worker"][0], 2)
    return place


def test_orders_taken_while_the_broker_is_away_go_through_when_it_is_back(place: Place) -> None:
    assert place.web.post_order().status == 202
    # A RabbitMQ killed while it declares a quorum queue may bring that queue back unable to confirm anything.
    place.wait_until_quiet()
    place.rabbitmq.kill()
    answers = [place.web.post_order() for _ in range(5)]
    assert [answer.status for answer in answers] == [202] * 5
    assert max(answer.seconds for answer in answers) < PATIENCE_SECONDS
    place.rabbitmq.start()
    seen = place.wait_until_quiet()
    assert seen["breaches"] == []
    assert {seen["order_ids"][answer.body["order_id"]] for answer in answers} == {"CREATED"}


def test_a_stopped_database_is_503_and_never_half_an_order(place: Place) -> None:
    before = place.wait_until_quiet()
    place.postgres.stop()
    answers = [place.web.post_order() for _ in range(3)]
    assert [answer.status for answer in answers] == [503] * 3
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    assert {answer.body["code"] for answer in answers} == {"database.unavailable"}
    place.postgres.start()
    after = place.wait_until_quiet()
    assert after["breaches"] == []
    assert after["order_ids"].keys() == before["order_ids"].keys()
    assert place.web.post_order().status == 202


def test_a_database_that_crashes_among_orders_halves_none(place: Place) -> None:
    """Whoever was told 202 has an order; whoever was told 503 has a whole one or none."""
    answers: list[Answer] = []
    is_over = threading.Event()
    customers = [threading.Thread(target=_keep_ordering, args=(place.web, answers, is_over)) for _ in range(4)]
    for customer in customers:
        customer.start()
    for _ in range(3):
        time.sleep(2)
        place.postgres.kill()
        place.postgres.start()
    time.sleep(2)
    is_over.set()
    for customer in customers:
        customer.join()
    seen = place.wait_until_quiet()
    told = Counter(answer.status for answer in answers)
    assert not told.keys() & set(SERVER_ERRORS), told
    assert told[202] > 0
    assert seen["breaches"] == []
    assert {seen["order_ids"].get(a.body["order_id"], "lost") for a in answers if a.status == 202} == {"CREATED"}
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 503)


def _keep_ordering(web: Web, answers: list[Answer], is_over: threading.Event) -> None:
    while not is_over.is_set():
        answers.append(web.post_order())
        time.sleep(0.05)
