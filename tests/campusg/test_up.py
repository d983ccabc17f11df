"""`manage.py up`, as a user would start it: in one process, and as three on the servers of this test environment."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import psycopg2
import pytest
from django.conf import settings

from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60
END_SECONDS = 30

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not settings.EMBEDDED and settings.IS_SQLITE, reason="needs a broker and PostgreSQL, or neither"
    ),
]


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, str]]:
    """Where an installation of its own finds its servers: nowhere, or here with a new database."""
    if settings.EMBEDDED:
        yield {}
        return
    given = settings.DATABASES["default"]
    address = f"postgres://{given['USER']}:{given['PASSWORD']}@{given['HOST']}:{given['PORT'] or 5432}"
    name = f"campusg_up_{secrets.token_hex(4)}"
    administer(f"{address}/postgres", f"CREATE DATABASE {name}")
    try:
        yield {
            "DATABASE_URL": f"{address}/{name}",
            "BROKER_URL": settings.BROKER_URL,
            "REDIS_URL": settings.REDIS_URL,
        }
    finally:
        administer(f"{address}/postgres", f"DROP DATABASE {name} WITH (FORCE)")


def administer(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()


def bare_environment(var: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "CAMPUSG_BOOTSTRAP": "0",
        "CAMPUSG_ENV_FILE": os.devnull,
        "CAMPUSG_VAR_DIR": str(var),
        "PYTHONUNBUFFERED": "1",
    }


class Up:
    """A started CampusG with an empty var folder."""

    def __init__(self, var: Path, services: Mapping[str, str]) -> None:
        self.port = free_port()
        self.output = var / "output.txt"
        environment = bare_environment(var) | services
        with self.output.open("w") as output:
            command = [sys.executable, "manage.py", "up", "--port", str(self.port)]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for_banner(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while "Stop with Ctrl-C" not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)

    @property
    def token(self) -> str:
        found = re.search(r"Token     (\w+)", self.text)
        assert found, self.text
        return found[1]

    def ask(self, path: str, body: object = None) -> dict:
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", data, headers)) as response:
            return json.load(response)

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(END_SECONDS)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, services: dict[str, str]) -> Iterator[Up]:
    started = Up(tmp_path_factory.mktemp("var"), services)
    try:
        started.wait_for_banner()
        yield started
    finally:
        started.stop(signal.SIGTERM)


def test_the_printed_token_orders_the_demo_product(up: Up) -> None:
    line = {"productId": "product-guid", "productName": "Laptop", "quantity": 1, "price": 1299.99}
    answer = up.ask("/api/orders", {"userId": "demo", "items": [line]})
    deadline = time.monotonic() + END_SECONDS
    while (saga := up.ask(f"/api/sagas/{answer['saga_id']}"))["status"] == "STARTED":
        assert time.monotonic() < deadline, saga
        time.sleep(0.05)
    assert saga["status"] == "COMPLETED"


def test_it_is_ready_and_says_so(up: Up) -> None:
    assert up.ask("/readyz")["status"] == "ok"


def test_the_banner_shows_the_admins_password_once(up: Up) -> None:
    assert re.search(r"user admin, password \S+ - shown only now", up.text)


def test_a_second_one_on_the_same_port_is_refused_clearly(up: Up, tmp_path: Path) -> None:
    command = [sys.executable, "manage.py", "up", "--port", str(up.port)]
    environment = bare_environment(tmp_path)
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"port {up.port}: Address already in use. Choose another with --port." in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_frees_its_port(number: signal.Signals, tmp_path: Path, services: dict[str, str]) -> None:
    started = Up(tmp_path, services)
    started.wait_for_banner()
    assert started.stop(number) == 0
    assert "Traceback" not in started.text
    with pytest.raises(URLError), urlopen(f"http://127.0.0.1:{started.port}/livez"):
        pass
    with socket.socket() as free:
        free.bind(("127.0.0.1", started.port))
