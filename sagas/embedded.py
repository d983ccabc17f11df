"""Sagas in one process: worker, sweep and relay are threads beside your own code, and the broker is in memory.

For a first file, for development and for small pilots. The worker, the tasks and the sweep are those of production, and
sagas survive a crash, because they are rows in the database. Only the messages are kept in memory, so one process does
all the work. With a real broker start `celery worker` and `celery beat` instead; nothing else changes.

    configure(database="pilot.sqlite3")  # only where there is no Django project
    with running():
        with transaction.atomic():
            saga = sagas.start(book_trip, input=..., key=..., subject=...)
        wait_for(saga.id)

In a Django project with `CELERY_BROKER_URL = "memory://"` the block goes around what serves the web.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery, current_app
from celery.beat import Scheduler
from celery.worker import state as worker_state
from django.conf import settings
from django.core.management import call_command
from django.db import connections

if TYPE_CHECKING:
    from sagas.engine.queries import SagaState

logger = logging.getLogger("sagas")

#: The engine's periodic tasks, for a project whose own beat schedule does not have them.
SCHEDULE: dict[str, dict[str, Any]] = {
    name: {"task": name, "schedule": 1.0, "options": {"expires": 1.0}} for name in ("sagas.sweep", "sagas.relay")
}
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
}
#: How often the in-process broker looks for messages, unless the project sets `polling_interval` itself.
POLLING_SECONDS = 0.01
#: How long a stopping worker may take to finish what it is doing.
STOP_SECONDS = 15.0
WAIT_SECONDS = 0.02

_only_one = threading.Lock()


# -- without a Django project ---------------------------------------------------------------------------------------
def configure(database: str | Path, *, apps: Sequence[str] = (), **django_settings: Any) -> None:
    """Set up Django, Celery and the tables in an SQLite file, for a program that is not a Django project.

    `apps` and `django_settings` are added to Django's settings. Raises `RuntimeError` if Django is set up already.
    """
    import django

    if settings.configured:
        raise RuntimeError("Django is set up already: use sagas.embedded.running() without configure().")
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database), "OPTIONS": SQLITE_OPTIONS}
    ours = {"INSTALLED_APPS": [*apps, "sagas"], "DATABASES": {"default": sqlite}, "USE_TZ": True}
    settings.configure(**(ours | django_settings))
    Celery("sagas", broker="memory://").set_default()
    django.setup()
    call_command("migrate", verbosity=0)


# -- worker and schedule --------------------------------------------------------------------------------------------
@contextmanager
def running(*, concurrency: int = 2) -> Iterator[None]:
    """Run sagas inside the block: a worker with `concurrency` threads, and the Celery app's beat schedule, to which the
    engine's own tasks are added where it lacks them.

    At the end of the block steps that have begun may finish, for up to 15 seconds; the rest goes on when sagas run
    again. Raises `RuntimeError` if the broker is a real one or a block is open already, and `SystemCheckError` if a
    definition is wrong.
    """
    app = current_app
    _prepare(app)
    if not _only_one.acquire(blocking=False):
        raise RuntimeError("sagas.embedded is running in this process already.")
    try:
        with _worker(app, concurrency), _beat(app):
            yield
    finally:
        _only_one.release()
        connections.close_all()


def _prepare(app: Celery) -> None:
    from sagas.tasks import register_step_tasks

    if app.connection_for_write().transport.driver_type != "memory":
        raise RuntimeError(
            "sagas.embedded needs the in-process broker: set CELERY_BROKER_URL to memory://. "
            "For the broker that is set start `celery worker` and `celery beat`."
        )
    call_command("check", tags=["sagas"], stdout=io.StringIO())
    register_step_tasks()
    app.conf.broker_transport_options = {"polling_interval": POLLING_SECONDS} | app.conf.broker_transport_options


@contextmanager
def _worker(app: Celery, concurrency: int) -> Iterator[None]:
    worker: Any = app.WorkController(
        pool_cls="threads", concurrency=concurrency, without_gossip=True, without_mingle=True, without_heartbeat=True
    )
    worker_state.should_stop = None
    thread = _start("sagas-worker", worker.start)
    try:
        yield
    finally:
        worker_state.should_stop = 0  # type: ignore[assignment] # an exit code; the stubs know only None
        # It looks at that every two seconds; a message wakes it.
        app.control.shutdown(destination=[worker.hostname])
        _join(thread)


class InMemoryScheduler(Scheduler):
    """Beat's schedule from the settings, kept nowhere: intervals begin anew with each start."""

    def setup_schedule(self) -> None:
        given = self.app.conf.beat_schedule
        present = {entry["task"] for entry in given.values()}
        self.merge_inplace(given | {name: entry for name, entry in SCHEDULE.items() if name not in present})


@contextmanager
def _beat(app: Celery) -> Iterator[None]:
    stopped = threading.Event()

    def tick() -> None:
        scheduler = InMemoryScheduler(app)
        while not stopped.wait(scheduler.tick()):
            pass

    thread = _start("sagas-beat", tick)
    try:
        yield
    finally:
        stopped.set()
        _join(thread)


def _start(name: str, target: Any) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def _join(thread: threading.Thread) -> None:
    thread.join(STOP_SECONDS)
    if thread.is_alive():
        logger.warning("%s did not stop in %d s", thread.name, STOP_SECONDS, extra={"action": "stop_timed_out"})


# -- for scripts ----------------------------------------------------------------------------------------------------
def wait_for(saga_id: uuid.UUID, *, timeout: timedelta = timedelta(seconds=30)) -> SagaState:
    """The saga once it has ended or needs attention. Raises `TimeoutError`, and `UnknownSaga`."""
    from sagas.engine.queries import find

    deadline = time.monotonic() + timeout.total_seconds()
    while (saga := find(saga_id)).is_open:
        if time.monotonic() > deadline:
            raise TimeoutError(f"The saga {saga_id} is still {saga.status} after {timeout.total_seconds():g} s.")
        time.sleep(WAIT_SECONDS)
    return saga
