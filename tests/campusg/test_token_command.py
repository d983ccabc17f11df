"""`manage.py token`."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.django_db


def token(*arguments: str) -> str:
    output = io.StringIO()
    call_command("token", *arguments, stdout=output)
    return output.getvalue()


def test_it_prints_a_token_that_works_and_nothing_else(client: Client) -> None:
    printed = token("alice")
    assert printed == printed.strip() + "\n"
    response = client.get("/api/sagas", headers={"Authorization": f"Token {printed.strip()}"})
    assert response.status_code == 200


def test_a_new_user_is_a_customer_without_a_password() -> None:
    token("alice")
    user = User.objects.get(username="alice")
    assert not user.has_usable_password()
    assert [group.name for group in user.groups.all()] == ["customer"]


def test_a_new_customer_can_pay_in_the_sandbox() -> None:
    from payments.steps import get_payment_info

    token("alice")
    assert get_payment_info(owner="alice", payment_method="")["last4"]


def test_each_call_prints_another_token_and_the_old_one_stays_valid(client: Client) -> None:
    first, second = token("alice").strip(), token("alice").strip()
    assert first != second
    assert client.get("/api/sagas", headers={"Authorization": f"Token {first}"}).status_code == 200


def test_an_operator_may_use_the_admin() -> None:
    token("olga", "--role", "operator")
    user = User.objects.get(username="olga")
    assert user.is_staff
    assert user.has_perm("sagas.view_sagainstance")


def test_a_role_can_be_added_to_a_user_who_exists() -> None:
    token("alice")
    token("alice", "--role", "runner")
    assert {group.name for group in User.objects.get(username="alice").groups.all()} == {"customer", "runner"}


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(CommandError, match="emperor"):
        token("alice", "--role", "emperor")


def test_without_a_database_it_says_what_to_run(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "CAMPUSG_BOOTSTRAP": "0",
        "CAMPUSG_ENV_FILE": os.devnull,
        "CAMPUSG_VAR_DIR": str(tmp_path),
    }
    command = [sys.executable, "manage.py", "token", "alice"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "manage.py migrate" in done.stderr
    assert "Traceback" not in done.stderr
