"""Every setting is documented, and every documented setting exists."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from campusg import checks
from campusg.launch import heartbeat, secret_key
from tests import environments

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENT = (ROOT / "docs" / "reference" / "configuration.md").read_text()
#: Variables that are not read in the settings.
READ_ELSEWHERE = {"CAMPUSG_BOOTSTRAP", "CAMPUSG_ENV_FILE", "CAMPUSG_TEST_CHAOS", "CI"} | {
    heartbeat.VARIABLE,
    *environments.TEST_URLS.values(),
}


def variables_of_the_settings() -> set[str]:
    """Every name in a call of `env.<type>(…)`."""
    tree = ast.parse((ROOT / "campusg" / "settings.py").read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    reads = (call for call in calls if isinstance(call.func.value, ast.Name) and call.func.value.id == "env")
    return {call.args[0].value for call in reads}


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", DOCUMENT, re.MULTILINE))
    assert documented == variables_of_the_settings() | READ_ELSEWHERE


def test_every_check_is_documented() -> None:
    reported = set(re.findall(r"campusg\.[EW]\d+", Path(checks.__file__).read_text()))
    assert set(re.findall(r"campusg\.[EW]\d+", DOCUMENT)) == reported


def settings_in(tmp_path: Path, expression: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Evaluate an expression in a new process that has only this environment."""
    code = f"from django.conf import settings; print({expression})"
    inherited = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "campusg.settings",
        "CAMPUSG_ENV_FILE": os.devnull,
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | {"CAMPUSG_VAR_DIR": str(tmp_path)} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_set_is_the_embedded_product_on_loopback(tmp_path: Path) -> None:
    shown = settings_in(tmp_path, "(settings.EMBEDDED, settings.DEBUG, settings.ALLOWED_HOSTS)")
    assert shown.stdout.strip() == "(True, False, ['localhost', '127.0.0.1', '[::1]'])"


def test_separate_processes_need_a_secret_from_the_outside(tmp_path: Path) -> None:
    shown = settings_in(tmp_path, "settings.SECRET_KEY", BROKER_URL="amqp://localhost//")
    assert shown.returncode == 1
    assert "SECRET_KEY is not set" in shown.stderr


def test_the_acceptance_window_comes_from_the_environment(tmp_path: Path) -> None:
    expression = "settings.ORDER_ACCEPTANCE_WINDOW.total_seconds()"
    assert settings_in(tmp_path, expression, CAMPUSG_ACCEPTANCE_WINDOW_SECONDS="5").stdout.strip() == "5.0"


def test_a_production_setup_passes_djangos_own_checks(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "CAMPUSG_BOOTSTRAP": "0",
        "CAMPUSG_ENV_FILE": os.devnull,
        "CAMPUSG_VAR_DIR": str(tmp_path),
        "SECRET_KEY": "a-long-and-quite-random-looking-text-0123456789-abcdefghij",
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "BROKER_URL": "amqp://127.0.0.1:1//",
        "STRIPE_API_KEY": "sk_test_none",
        "CAMPUSG_HTTPS": "1",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    checked = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_secret_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"
    first = secret_key.find(path, may_create=True)
    assert len(first) > 50
    assert secret_key.find(path, may_create=False) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_permission_no_secret_is_created(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY"):
        secret_key.find(tmp_path / "secret_key", may_create=False)
