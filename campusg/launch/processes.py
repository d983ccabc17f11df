"""Runs web, worker and beat: in one process when there is no broker, as three processes when there is one."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import uvicorn
from celery.beat import Scheduler, Service
from celery.worker import state as worker_state
from django.conf import settings
from django.db import connections

from campusg.celery import app
from campusg.launch import heartbeat

logger = logging.getLogger(__name__)

Announce = Callable[[], None]

#: How long a stopping worker may take; longer than Celery's own soft shutdown.
STOP_SECONDS = 15
READY_SECONDS = 60
UVICORN_OPTIONS = ("--lifespan", "off", "--no-access-log", "--log-level", "warning")


class PortTaken(Exception):
    """Somebody else listens there."""


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises `PortTaken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        message = f"Cannot listen on {host}, port {port}: {error.strerror}. Choose another with --port."
        raise PortTaken(message) from error
    return listener


def run_embedded(listener: socket.socket, announce: Announce) -> None:
    """Everything in this process, until SIGINT or SIGTERM."""
    # uvicorn hands the signal that stopped it on to these; without them SIGTERM would end us before we tidied up.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with Background():
        WebServer(announce).run(sockets=[listener])


class WebServer(uvicorn.Server):
    """uvicorn, which tells when it is ready."""

    def __init__(self, announce: Announce) -> None:
        super().__init__(uvicorn.Config("campusg.asgi:application", lifespan="off", log_config=None, access_log=False))
        self.announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.announce()


class InMemoryScheduler(Scheduler):
    """Beat's schedule from the settings, kept nowhere: intervals begin anew with each start."""

    def setup_schedule(self) -> None:
        self.merge_inplace(self.app.conf.beat_schedule)


class Background:
    """Celery's worker and beat as threads, for the in-process broker."""

    def __init__(self) -> None:
        app.set_default()
        self.worker: Any = app.WorkController(
            pool_cls="threads",
            concurrency=settings.CELERY_WORKER_CONCURRENCY,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        self.beat = Service(app, scheduler_cls=InMemoryScheduler)
        self.threads = [
            threading.Thread(target=self.worker.start, name="worker", daemon=True),
            threading.Thread(target=self.beat.start, name="beat", daemon=True),
        ]

    def __enter__(self) -> None:
        worker_state.should_stop = None
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self.beat.stop()
        worker_state.should_stop = 0  # type: ignore[assignment] # an exit code; the stubs know only None
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("%s did not stop", thread.name, extra={"action": "stop_timed_out"})
        connections.close_all()


def run_processes(host: str, port: int, announce: Announce) -> int:
    """Web, worker and beat as children, until one ends or a stop signal arrives; returns the exit code."""
    import honcho.manager

    honcho.manager.KILL_WAIT = STOP_SECONDS
    connections.close_all()  # the children are forks first
    manager = honcho.manager.Manager()
    with tempfile.TemporaryDirectory(prefix="campusg-up-") as folder:
        started = {name: Path(folder) / name for name in ("worker", "beat")}
        for name, (command, extra) in commands(host, port).items():
            marks = {heartbeat.VARIABLE: str(started[name])} if name in started else {}
            manager.add_process(name, shlex.join(command), env=os.environ | extra | marks)
        ready = (host, port, started.values(), announce)
        threading.Thread(target=_announce_when_ready, args=ready, daemon=True).start()
        manager.loop()
    stopped_by_us = {honcho.manager.SIGNALS[number]["rc"] for number in (signal.SIGINT, signal.SIGTERM)}
    return 0 if manager.returncode in stopped_by_us else int(manager.returncode or 0)


def commands(host: str, port: int) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The three commands with what each needs in its environment."""
    python = [sys.executable, "-m"]
    celery = [*python, "celery", "--quiet", "-A", "campusg.celery"]
    # A second CampusG on this machine may use the same broker, which wants every worker to have a name of its own.
    worker = [*celery, "worker", "-n", f"up{os.getpid()}@%h"]
    worker += ["-P", "prefork", "-c", str(settings.CELERY_WORKER_CONCURRENCY)]
    return {
        "web": (
            [*python, "uvicorn", "campusg.asgi:application", "--host", host, "--port", str(port), *UVICORN_OPTIONS],
            {},
        ),
        "worker": (
            [*worker, "--without-gossip", "--without-mingle", "-l", "WARNING"],
            # A stopping worker gets its soft shutdown: unfinished tasks go back to their queue.
            # Who starts a first look as root need not read a page about it.
            {"REMAP_SIGTERM": "SIGQUIT", "PYTHONWARNINGS": "ignore:You're running the worker with superuser"},
        ),
        "beat": ([*celery, "beat", "-l", "WARNING", "--pidfile="], {}),
    }


def _announce_when_ready(host: str, port: int, marks: Iterable[Path], announce: Announce) -> None:
    """Announce once the web answers and the worker and beat have started."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if _is_alive(host, port) and all(mark.exists() for mark in marks):
            announce()
            return
        time.sleep(0.2)
    logger.warning("Not everything has started in %d s", READY_SECONDS, extra={"action": "start_timed_out"})


def _is_alive(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
