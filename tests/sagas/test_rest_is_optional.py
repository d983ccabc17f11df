"""The engine works without REST framework: nothing outside of `sagas.rest` needs it."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import sagas

ROOT = Path(__file__).parents[2]
#: Parts of `sagas.rest` that the admin and tasks use, so that they must do without it too.
USED_WITHOUT = ("sagas.rest.idempotency", "sagas.rest.readonly_admin", "sagas.rest.access")

SCRIPT = """
import importlib, sys
sys.modules["rest_framework"] = sys.modules["django_filters"] = None
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "sagas"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_other_module_is_imported_without_it() -> None:
    found = [module.name for module in pkgutil.walk_packages(sagas.__path__, "sagas.")]
    names = [name for name in found if not name.startswith("sagas.rest")]
    environment = {"PATH": os.environ["PATH"]}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names, *USED_WITHOUT],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
