from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from kombu import Connection
from pytest_django import DjangoDbBlocker

from campusg import topology
from campusg.celery import app
from sagas.engine import dispatch
from tests.harness import sink
from tests.harness.fleet import Fleet
from tests.servers import PrivateRabbitMQ, PrivateServers
from tests.tables import Prefilled

#: Short waits for the processes.
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "tests.harness.settings",
    "CAMPUSG_SAGA_SWEEP_SECONDS": "1",
    "CAMPUSG_TIMER_SWEEP_SECONDS": "1",
    "CAMPUSG_STEP_RETRY_DELAY_SECONDS": "0.5",
    "CAMPUSG_STEP_RETRIES": "8",
    "CAMPUSG_LOG_LEVEL": "WARNING",
    "CAMPUSG_ALLOW_SANDBOX_PAYMENTS": "1",
    "CAMPUSG_BOOTSTRAP": "0",
}


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[PrivateRabbitMQ]:
    """A broker for these tests only: what they do to it must not affect messages of others."""
    with PrivateServers(["rabbitmq"]) as servers:
        if servers.missing:
            pytest.skip(servers.missing["rabbitmq"])
        server = servers.running["rabbitmq"]
        assert isinstance(server, PrivateRabbitMQ)
        yield server


@pytest.fixture
def fleet(transactional_db: None, rabbitmq: PrivateRabbitMQ, tmp_path: Path) -> Iterator[Fleet]:
    """The environment for processes of one test, with its database and the private broker. None is started yet."""
    with a_fleet(rabbitmq, tmp_path) as processes:
        yield processes


@pytest.fixture(scope="module")
def shared_fleet(
    prefilled: Prefilled,
    django_db_blocker: DjangoDbBlocker,
    rabbitmq: PrivateRabbitMQ,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """The same for a module: its tests share processes and rows, and both are removed after the last test."""
    with django_db_blocker.unblock():
        folder = tmp_path_factory.mktemp("fleet")
        try:
            with a_fleet(rabbitmq, folder, CHAOS_STEP_FAULTS=str(folder / "faults")) as processes:
                yield processes
        finally:
            prefilled.restore()


@contextmanager
def a_fleet(rabbitmq: PrivateRabbitMQ, folder: Path, **more: str) -> Iterator[Fleet]:
    """Processes on the test database and the private broker. This process publishes to the same broker."""
    assert connection.settings_dict["NAME"].startswith("test_"), "only on a test database"
    from tests.harness.settings import SAGAS  # reads the product's settings, so only after Django has

    environment = {
        **ENVIRONMENT,
        "DATABASE_URL": database_url(),
        "BROKER_URL": rabbitmq.url,
        "REDIS_URL": os.environ.get("REDIS_URL", ""),
        "SECRET_KEY": settings.SECRET_KEY,
        "CAMPUSG_VAR_DIR": str(folder / "var"),
        **more,
    }
    with publishing_to(rabbitmq), override_settings(SAGAS=SAGAS), Fleet(environment, folder) as fleet:
        yield fleet


def database_url() -> str:
    """The URL of the test database, for other processes."""
    config = connection.settings_dict
    password = f":{config['PASSWORD']}" if config["PASSWORD"] else ""
    return f"postgres://{config['USER']}{password}@{config['HOST']}:{config['PORT']}/{config['NAME']}"


@contextmanager
def publishing_to(server: PrivateRabbitMQ) -> Iterator[None]:
    """Let this process publish to this broker. Its queues are deleted at the end."""
    before = app.conf.broker_url
    _use(server.url)
    try:
        with dispatch.published_by(dispatch.CeleryPublisher()):
            yield
    finally:
        _use(before)
        _empty(server.url)


def _use(url: str) -> None:
    app.conf.broker_url = url
    app._after_fork()  # drop the connections to the other broker


def _empty(url: str) -> None:
    names = [*topology.COMMAND_QUEUES, *(f"{topic}_events" for topic in topology.EVENT_TOPICS)]
    with Connection(url) as connected, connected.channel() as channel:
        for name in (*names, topology.DEAD_LETTERS_QUEUE, sink.QUEUE.name):
            channel.queue_delete(name)
