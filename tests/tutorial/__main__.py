"""Carries out the tutorial from its own text, and checks the package it installs.

In an empty folder and fresh virtual environments, with a private RabbitMQ: the commands and files are those of
`docs/tutorial/book-a-seat.md`, in its order, and what is printed must be what it shows. Exit 1 if anything differs.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

from tests.servers import PrivateRabbitMQ, PrivateServers, free_port
from tests.tutorial import package
from tests.tutorial.reader import Reader
from tests.tutorial.terminals import Failed
from tests.tutorial.text import read

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "book-a-seat.md"
#: Settings of this project and its virtual environment, which a stranger does not have.
OURS = ("CAMPUSG", "DJANGO", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "STRIPE", "PYTHON", "VIRTUAL_ENV", "TEST_")
IDLE_SECONDS = 6.0


def environment_of(home: Path, broker_url: str) -> dict[str, str]:
    """A reader's: the clone is in their home, and pip works as it does here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    user = Path.home()
    return {"XDG_CONFIG_HOME": str(user / ".config"), "XDG_CACHE_HOME": str(user / ".cache")} | kept | {
        "HOME": str(home), "BROKER_URL": broker_url, "AIRLINE_PORT": str(free_port()),
    }  # fmt: skip


def carry_out(folder: Path, environment: dict[str, str]) -> Reader:
    reader = Reader(folder, environment, logs=folder / "logs")
    reader.logs.mkdir()
    try:
        reader.carry_out(read(TUTORIAL))
        require_silence(reader)
        require_outcomes(reader)
    finally:
        reader.leave()
    return reader


def require_silence(reader: Reader) -> None:
    """A worker with beat that has nothing to do prints nothing, though the sweep runs every two seconds."""
    worker = reader.terminal("worker")
    before = len(worker.printed)
    time.sleep(IDLE_SECONDS)
    if said := worker.printed[before:]:
        raise Failed(f"With nothing to do the worker printed:\n{said}")


def require_no_exchange(rabbitmq: PrivateRabbitMQ) -> None:
    """A project that publishes no events has no exchange but Celery's and the broker's own."""
    listed = rabbitmq.control("list_exchanges", "-q", "name").splitlines()[1:]
    if strange := [name for name in listed if name and not name.startswith(("amq.", "celery", "reply.celery"))]:
        raise Failed(f"These exchanges appeared: {strange}")


def require_outcomes(reader: Reader) -> None:
    """At least one booking went through, and one was refused and undone."""
    sagas = [json.loads(line) for line in reader.main.run("python manage.py sagas list --json").splitlines()]
    statuses = {saga["status"] for saga in sagas}
    if not {"COMPLETED", "COMPENSATED"} <= statuses:
        raise Failed(f"The sagas ended {sorted(statuses)}.")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="campusg-tutorial-") as name, PrivateServers(["rabbitmq"]) as servers:
        if servers.missing:
            print(f"No RabbitMQ: {servers.missing['rabbitmq']}")
            return 1
        home, project = Path(name) / "home", Path(name) / "project"
        for folder in (home, project):
            folder.mkdir()
        (home / "campusg").symlink_to(ROOT)
        environment = environment_of(home, servers.urls["rabbitmq"])
        try:
            first_file = package.check(ROOT, Path(name) / "package", environment)
            reader = carry_out(project, environment)
            require_no_exchange(cast("PrivateRabbitMQ", servers.running["rabbitmq"]))
        except Failed as failure:
            print(failure)
            return 1
    report(reader, first_file)
    return 0


def report(reader: Reader, first_file: float) -> None:
    print()
    print(f"The README's first file: {first_file:.2f} s")
    print(f"From an empty folder to the first COMPLETED booking: {reader.first_done_after:.0f} s")
    lines = sum(reader.files.values())
    print(f"Written by the reader: {len(reader.files)} files, {lines} lines; commands: {reader.commands}")
    for path, count in reader.files.items():
        print(f"  {count:4} {path}")


sys.exit(main())
