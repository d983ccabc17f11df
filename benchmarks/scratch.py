"""What benchmarks run on: a new database on the server that DATABASE_URL names, or private servers."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg2

if TYPE_CHECKING:
    from tests.servers import PrivateServers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


@contextmanager
def scratch_database(name: str) -> Iterator[None]:
    """Create the database `name`_<pid>, set DATABASE_URL to it, set Django up and migrate. Drop it at the end.

    If DATABASE_URL names no PostgreSQL, a private one is started: two connections cannot race on SQLite.
    """
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        with _database(name):
            yield
        return
    from tests.servers import PrivateServers

    with PrivateServers(["postgres"]) as servers:
        if servers.missing:
            raise SystemExit(f"Cannot run: {servers.missing}")
        os.environ["DATABASE_URL"] = servers.urls["postgres"]
        with _database(name):
            yield


@contextmanager
def private_servers(**settings: str) -> Iterator[tuple[PrivateServers, dict[str, str]]]:
    """A private PostgreSQL and RabbitMQ, with Django set up on them, and the environment for more processes."""
    from tests.servers import PrivateServers

    with PrivateServers(["postgres", "rabbitmq"]) as servers:
        if servers.missing:
            raise SystemExit(f"Cannot run: {servers.missing}")
        environment = {
            "DATABASE_URL": servers.urls["postgres"], "BROKER_URL": servers.urls["rabbitmq"], "REDIS_URL": "",
            "SECRET_KEY": secrets.token_urlsafe(48), "CAMPUSG_ALLOW_SANDBOX_PAYMENTS": "1",
            "CAMPUSG_LOG_LEVEL": "CRITICAL", "CAMPUSG_BOOTSTRAP": "0", "CAMPUSG_VAR_DIR": str(servers.folder / "var"),
        } | settings  # fmt: skip
        os.environ.update(environment)
        set_up()
        yield servers, environment


@contextmanager
def _database(name: str) -> Iterator[None]:
    url = urlsplit(os.environ["DATABASE_URL"])
    database = f"{name}_{os.getpid()}"
    _execute(url.geturl(), f'CREATE DATABASE "{database}"')
    os.environ["DATABASE_URL"] = urlunsplit(url._replace(path=f"/{database}"))
    try:
        set_up()
        yield
    finally:
        _execute(url.geturl(), f'DROP DATABASE "{database}" WITH (FORCE)')


def set_up() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")
    os.environ.setdefault("CAMPUSG_LOG_LEVEL", "CRITICAL")
    os.environ.setdefault("CAMPUSG_LOG_FORMAT", "json")  # the console format sets another level for requests
    os.environ.update(CAMPUSG_RATE_READ="", CAMPUSG_RATE_WRITE="", CAMPUSG_ALLOWED_HOSTS="testserver")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def _execute(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
