"""Sagas in one process: real threads, the in-memory broker, and a file that a stranger runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

import pytest

from tests.servers import free_port

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
README = ROOT / "sagas" / "README.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```console\n\$ python first_saga\.py\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: What differs from run to run: ids and times.
VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d\d:\d\d:\d\d\.\d+")


def run(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, path.name], cwd=path.parent, env=clean(**environment), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def clean(**environment: str) -> dict[str, str]:
    """The environment of somebody who has no project."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}


def program(folder: Path, main: str) -> Path:
    """The README's definitions with another main part."""
    definitions = CODE.findall(README.read_text())[0].split('if __name__ == "__main__":')[0]
    path = folder / "program.py"
    path.write_text(f'{definitions}\nif __name__ == "__main__":\n{textwrap.indent(textwrap.dedent(main), "    ")}')
    return path


def test_the_first_file_of_the_readme_prints_what_the_readme_shows(tmp_path: Path) -> None:
    text = README.read_text()
    path = tmp_path / "first_saga.py"
    path.write_text(CODE.findall(text)[0])
    done = run(path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert VARYING.sub("…", done.stdout) == VARYING.sub("…", SHOWN.findall(text)[0])


def test_a_saga_that_died_with_its_process_goes_on_in_the_next_one(tmp_path: Path) -> None:
    """Killed inside the call: the next start finds the saga in the database, with nobody sending a message."""
    main = """
        import datetime, os, sys, time
        from django.conf import settings

        def issue_slowly(*, seat: str, idempotency_key: str) -> None:
            print("calling", idempotency_key, flush=True)
            time.sleep(float(os.environ["SECONDS"]))

        trip = Saga("trip", takes=Trip).step(reserve_seat, compensate=free_seat)
        trip.pivot(issue_slowly, remote=True, timeout=sagas.seconds(1))
        sagas.register(trip)
        short = datetime.timedelta(seconds=0.5)
        embedded.configure("trips.sqlite3", SAGAS={"STALL": short, "LEASE_GRACE": short})
        with embedded.running():
            with transaction.atomic():
                saga = sagas.start(trip, input=Trip(seat="12A"), key="one", subject="12A")
            print(embedded.wait_for(saga.id).status.value, flush=True)
    """
    path = program(tmp_path, main)
    first = subprocess.Popen(
        [sys.executable, path.name], cwd=tmp_path, env=clean(SECONDS="60"), stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    lines = [first.stdout.readline(), first.stdout.readline()]
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = run(path, SECONDS="0")
    assert second.returncode == 0, second.stderr
    assert lines[0] == "seat 12A is reserved\n"
    assert second.stdout.splitlines() == [lines[1].strip(), "COMPLETED"]


def test_leaving_the_block_lets_a_step_finish_and_ends_the_threads(tmp_path: Path) -> None:
    main = """
        import threading, time
        begun = threading.Event()

        def issue_slowly(*, seat: str) -> None:
            begun.set()
            time.sleep(1)
            print("issued")

        trip = Saga("trip", takes=Trip).pivot(issue_slowly, remote=True)
        sagas.register(trip)
        embedded.configure("trips.sqlite3")
        with embedded.running():
            with transaction.atomic():
                saga = sagas.start(trip, input=Trip(seat="12A"), key="one", subject="12A")
            begun.wait(10)
        print(sagas.find(saga.id).status.value)
        print([thread.name for thread in threading.enumerate() if "sagas" in thread.name])
        with embedded.running():
            print("again")
    """
    began_at = time.monotonic()
    done = run(program(tmp_path, main))
    assert done.stdout.splitlines() == ["issued", "COMPLETED", "[]", "again"], done.stderr
    assert time.monotonic() - began_at < 10


PROJECT = {
    "trips/__init__.py": """
        from celery import Celery

        app = Celery("trips")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.set_default()
    """,
    "trips/settings.py": """
        INSTALLED_APPS = ["sagas", "bookings"]
        DATABASES = {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": "trips.sqlite3",
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        }
        CELERY_BROKER_URL = "memory://"
        ALLOWED_HOSTS = ["127.0.0.1"]
        SECRET_KEY = "only for this test"
        ROOT_URLCONF = "trips.urls"
        USE_TZ = True
    """,
    "trips/asgi.py": """
        from django.core.asgi import get_asgi_application

        application = get_asgi_application()
    """,
    "trips/urls.py": """
        from django.http import HttpResponse
        from django.urls import path

        from bookings.sagas import book


        urlpatterns = [path("book", lambda request: HttpResponse(book().hex))]
    """,
    "bookings/__init__.py": "",
    "bookings/sagas.py": """
        from dataclasses import dataclass

        from django.db import transaction

        import sagas


        @dataclass
        class Trip:
            seat: str


        def issue_ticket(*, seat: str, idempotency_key: str) -> None: ...


        trip = sagas.Saga("trip", takes=Trip).pivot(issue_ticket, remote=True)
        sagas.register(trip)


        def book():
            with transaction.atomic():
                return sagas.start(trip, input=Trip("12A"), key="one", subject="12A").id
    """,
}
SAGA_STATUS = """
import sys, uuid, django
django.setup()
import sagas
print(sagas.find(uuid.UUID(sys.argv[1])).status.value)
"""


def test_a_web_server_and_its_sagas_are_one_process(tmp_path: Path) -> None:
    """The README's `serve.py`, with a view that starts a saga."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    [serve] = [code for code in CODE.findall(README.read_text()) if "uvicorn.run" in code]
    (tmp_path / "serve.py").write_text(serve)
    port = free_port()
    environment = clean(PORT=str(port), DJANGO_SETTINGS_MODULE="trips.settings", PYTHONPATH=f"{ROOT}:{tmp_path}")
    migrate = [sys.executable, "-m", "django", "migrate", "-v", "0"]
    subprocess.run(migrate, cwd=tmp_path, env=environment, check=True)
    server = subprocess.Popen([sys.executable, "serve.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    try:
        saga_id = until(lambda: urlopen(f"http://127.0.0.1:{port}/book", timeout=5).read().decode())
        look = [sys.executable, "-c", SAGA_STATUS, saga_id]
        until(lambda: subprocess.check_output(look, cwd=tmp_path, env=environment).index(b"COMPLETED"))
        server.send_signal(signal.SIGINT)
        assert server.wait(20) in {0, 1, -signal.SIGINT}
    finally:
        server.kill()
        server.communicate()


def until(work: Callable[[], T]) -> T:
    """What it returns once it raises no more. Raises `AssertionError` after 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return work()
        except (OSError, ValueError):
            time.sleep(0.1)
    raise AssertionError("it never worked")


CANNOT_WORK = {
    "configured twice": ("embedded.configure('b.sqlite3')", "RuntimeError: Django is set up already"),
    "running twice": (
        "with embedded.running(), embedded.running(): pass",
        "RuntimeError: sagas.embedded is running in this process already.",
    ),
    "a real broker": (
        """
        from celery import Celery
        Celery('real', broker='amqp://localhost//').set_default()
        with embedded.running(): pass
        """,
        "RuntimeError: sagas.embedded needs the in-process broker: set CELERY_BROKER_URL to memory://",
    ),
    "a wrong definition": (
        """
        sagas.register(Saga('empty', takes=Trip))
        with embedded.running(): pass
        """,
        "(sagas.E001) empty has no steps.",
    ),
    "waited in vain": (
        """
        with transaction.atomic():
            saga = sagas.start(book_trip, input=Trip(seat='12A'), key='one', subject='12A')
        embedded.wait_for(saga.id, timeout=sagas.seconds(0.1))
        """,
        "is still STARTED after 0.1 s.",
    ),
}


@pytest.mark.parametrize("case", CANNOT_WORK)
def test_what_cannot_work_is_an_error(tmp_path: Path, case: str) -> None:
    main, error = CANNOT_WORK[case]
    done = run(program(tmp_path, f"embedded.configure('a.sqlite3')\n{textwrap.dedent(main)}"))
    assert done.returncode == 1
    assert error in done.stderr
