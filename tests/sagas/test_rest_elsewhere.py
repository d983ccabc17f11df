"""The sagas API in a project of somebody else, which adds its URLs and sets nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
URLS = {"": "bare_urls", "/shop/v1": "prefixed_urls"}
PROBLEM = "application/problem+json"


@cache
def answers(prefix: str, rest_framework: str = "{}") -> dict[str, Any]:
    """What `tests.sagas.elsewhere` got for each of its requests, by label, with these settings of REST framework."""
    environment = {
        "PATH": os.environ["PATH"], "ELSEWHERE_URLS": f"tests.sagas.elsewhere.{URLS[prefix]}",
        "ELSEWHERE_REST_FRAMEWORK": rest_framework,
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "tests.sagas.elsewhere", prefix],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"label"')]
    return {line["label"]: line for line in lines}


@pytest.fixture(params=URLS, ids=URLS.values())
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("label", "status", "code"),
    [
        ("wrong filter", 400, "request.invalid"),
        ("unknown saga", 404, "saga.unknown"),
        ("unknown field", 400, "request.invalid"),
        ("too large", 413, "request.too_large"),
        ("refused cancel", 409, "bookings.seat_taken"),
        ("no operator", 403, "auth.forbidden"),
        ("holds", 403, "auth.forbidden"),
    ],
)
def test_an_error_is_a_problem_document(prefix: str, label: str, status: int, code: str) -> None:
    answer = answers(prefix)[label]
    assert (answer["status"], answer["headers"]["Content-Type"]) == (status, PROBLEM)
    assert answer["body"]["code"] == code
    assert answer["body"]["type"] == f"/problems/{code}"
    assert answer["body"]["instance"].startswith(f"{prefix}/sagas")


def test_who_is_not_signed_in_sees_nothing(prefix: str) -> None:
    answer = answers(prefix)["nobody"]
    assert answer["status"] in {401, 403}
    assert answer["body"]["code"] == "auth.required"


def test_the_projects_own_permissions_count_too() -> None:
    settings = {"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"]}
    answer = answers("", json.dumps(settings))["one page"]
    assert (answer["status"], answer["body"]["code"]) == (403, "auth.forbidden")


def test_lists_come_in_pages_and_can_be_filtered(prefix: str) -> None:
    page, filtered = answers(prefix)["one page"], answers(prefix)["filtered"]
    assert len(page["body"]) == 1
    assert f"{prefix}/sagas?cursor=" in page["headers"]["Link"]
    assert [saga["subject"] for saga in filtered["body"]] == ["1A"]


def test_a_saga_is_cancelled_once_with_its_key(prefix: str) -> None:
    first, again = answers(prefix)["cancelled"], answers(prefix)["cancelled again"]
    assert (first["status"], first["body"]["status"]) == (202, "CANCELLING")
    assert first["headers"]["Location"] == f"{prefix}/sagas/{first['body']['saga_id']}"
    assert again["body"] == first["body"]
    assert again["headers"]["Idempotent-Replayed"] == "true"


def test_a_preview_and_the_address_with_a_slash_answer_too(prefix: str) -> None:
    assert answers(prefix)["preview"]["body"]["runs"] == ["tests.free_seat"]
    assert answers(prefix)["slash"]["status"] == 200
