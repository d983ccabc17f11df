"""Beat ends without a traceback when it gets a signal, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent.parent
#: Starts beat, which sends itself the signal during its n-th SQL statement.
INTERRUPTED = """
import contextlib, os, sys
import django
django.setup()
from django.db import connection
from campusg.celery import app

statements = 0

def interrupt(execute, sql, params, many, context):
    global statements
    statements += 1
    result = execute(sql, params, many, context)
    if statements == int(sys.argv[1]):
        os.kill(os.getpid(), int(sys.argv[2]))
        sum(range(1000))
    return result

with connection.execute_wrapper(interrupt):
    app.Beat(loglevel="WARNING", quiet=True).run()
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("statement", [12, 40])
def test_it_ends_quietly_in_the_middle_of_any_statement(statement: int, number: signal.Signals) -> None:
    given = settings.DATABASES["default"]
    url = f"postgres://{given['USER']}:{given['PASSWORD']}@{given['HOST']}:{given['PORT'] or 5432}/{given['NAME']}"
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url, "CAMPUSG_ENV_FILE": os.devnull}
    environment |= {"CAMPUSG_BOOTSTRAP": "0", "DJANGO_SETTINGS_MODULE": "campusg.settings", "BROKER_URL": "memory://"}
    command = [sys.executable, "-c", INTERRUPTED, str(statement), str(number)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
