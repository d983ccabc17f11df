"""Migrates an empty database to the release before, stores an answer, migrates to this release, and back again.

Run `python -m tests.orders.moved_keys` with the environment of that database. Prints its findings as one line of JSON.
"""

from __future__ import annotations

import json
import os
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "campusg.settings"
django.setup()

from django.core.management import call_command  # noqa: E402 - after setup
from django.db import connection  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402

from sagas.rest.idempotency import IdempotencyKey, KeyedRequest, earlier_answer  # noqa: E402

BEFORE = [("orders", "0003_acceptance"), ("sagas", "0005_auto_retry")]
REQUEST = KeyedRequest(user="ann", method="POST", path="/api/orders", key="k1", body={"a": 1})


def migrate(*targets: tuple[str, str]) -> None:
    for app, name in targets:
        call_command("migrate", app, name, verbosity=0)


def model_before() -> Any:
    """The model as it is in the release before."""
    return MigrationExecutor(connection).loader.project_state(BEFORE).apps.get_model("orders", "IdempotencyKey")


def keep_answer(key: str) -> None:
    model_before().objects.create(
        user=REQUEST.user, method=REQUEST.method, path=REQUEST.path, key=key, body_sha256=REQUEST.body_sha256,
        status_code=202, location="/api/sagas/x", response={"order_id": "x"},
    )  # fmt: skip


def main() -> None:
    call_command("migrate", "auth", verbosity=0)
    migrate(*BEFORE)
    keep_answer("k1")
    call_command("migrate", verbosity=0)
    answer = earlier_answer(REQUEST)
    keep_answer("k2")  # the release before still runs
    IdempotencyKey.objects.create(user="bob", method="POST", path="/", key="k3", status_code=200, response={})
    here = sorted(IdempotencyKey.objects.values_list("key", flat=True))
    there = sorted(model_before().objects.values_list("key", flat=True))
    migrate(*reversed(BEFORE))
    back = sorted(model_before().objects.values_list("key", flat=True))
    print(json.dumps({"answer": answer and answer.body, "here": here, "there": there, "back": back}))  # noqa: T201 - read by the test


main()
