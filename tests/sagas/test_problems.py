"""Errors over HTTP."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction
from django.test import Client
from rest_framework import exceptions

import sagas
from sagas.errors import Problem, Refusal, UnknownSaga
from sagas.rest import problems

MEMBERS = {"type", "title", "status", "detail", "code", "advice", "instance"}


class SoldOut(Refusal):
    code = "order.sold_out"
    status = 409
    title = "Sold out"
    advice = "Take something else."


def body_of(error: Exception) -> dict[str, object]:
    document = problems.document_for(error)
    assert document is not None
    return document.body("/api/orders")


def test_a_problem_says_what_which_and_what_next() -> None:
    body = body_of(SoldOut("No burgers left.", product_ids=["burger"]))
    assert body == {
        "type": "https://campusg.example/problems/order.sold_out",
        "title": "Sold out",
        "status": 409,
        "detail": "No burgers left.",
        "code": "order.sold_out",
        "advice": "Take something else.",
        "instance": "/api/orders",
        "product_ids": ["burger"],
    }


def test_field_errors_come_as_a_flat_list_with_paths() -> None:
    error = exceptions.ValidationError(
        {"items": [{}, {"price": ["Too many decimals."]}], "non_field_errors": ["Empty."]}
    )
    body = body_of(error)
    assert body["code"] == "request.invalid"
    assert body["errors"] == [
        {"field": "items.1.price", "code": "invalid", "detail": "Too many decimals."},
        {"field": "", "code": "invalid", "detail": "Empty."},
    ]
    assert body["detail"] == "items.1.price: Too many decimals. Empty."


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (exceptions.ParseError(), 400, "request.malformed"),
        (exceptions.NotAuthenticated(), 401, "auth.required"),
        (exceptions.AuthenticationFailed(), 401, "auth.failed"),
        (exceptions.PermissionDenied(), 403, "auth.forbidden"),
        (exceptions.NotFound(), 404, "not_found"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
        (exceptions.Throttled(3), 429, "rate_limited"),
        (Problem(), 400, "problem"),
    ],
)
def test_every_kind_of_error_has_a_status_a_code_and_advice(error: Exception, status: int, code: str) -> None:
    body = body_of(error)
    assert body.keys() >= MEMBERS
    assert (body["status"], body["code"]) == (status, code)
    assert body["advice"]


def test_a_database_that_is_away_is_a_503_with_retry_after() -> None:
    document = problems.document_for(OperationalError("connection refused"))
    assert document is not None
    assert (document.status, document.code, document.headers) == (503, "database.unavailable", {"Retry-After": "5"})


def test_a_throttled_caller_learns_how_long_to_wait() -> None:
    document = problems.document_for(exceptions.Throttled(wait=2.2))
    assert document is not None
    assert document.headers == {"Retry-After": "3"}


def test_a_bug_is_nobodys_problem_document() -> None:
    assert problems.document_for(KeyError("x")) is None


@pytest.mark.django_db
def test_an_unknown_address_answers_with_a_problem(client: Client) -> None:
    response = client.get("/api/nothing")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["instance"] == "/api/nothing"


@pytest.mark.django_db
def test_without_a_token_the_answer_names_the_scheme(client: Client) -> None:
    response = client.get("/api/sagas")
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Token"
    assert response.json()["code"] == "auth.required"


# -- statuses -------------------------------------------------------------------------------------------------------
def kinds_of_problems(base: type[Problem] = Problem) -> Iterator[type[Problem]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds_of_problems(kind)


def test_every_error_of_the_engine_has_a_status() -> None:
    for module in pkgutil.walk_packages(sagas.__path__, "sagas."):
        importlib.import_module(module.name)
    of_engine = {kind for kind in kinds_of_problems() if kind.__module__.startswith("sagas.")}
    of_rest = {kind for kind in of_engine if kind.__module__.startswith("sagas.rest.")}
    assert len(of_engine) > 10
    assert of_engine - of_rest == set(problems.STATUSES)
    assert all("status" in vars(kind) for kind in of_rest)


def test_no_error_of_the_engine_knows_its_status() -> None:
    assert [kind for kind in problems.STATUSES if hasattr(kind, "status")] == []


class NotReady(UnknownSaga):
    """An app's error with no status of its own."""


class Gone(UnknownSaga):
    status = 410


def test_an_error_has_its_own_status_or_that_of_its_nearest_base() -> None:
    assert problems.status_of(NotReady()) == problems.status_of(NotReady) == 404
    assert problems.status_of(Gone()) == problems.status_of(Gone) == 410
    changed = Gone()
    changed.status = 451
    assert problems.status_of(changed) == 451


def test_the_type_of_a_problem_is_the_projects_choice(settings: Any) -> None:
    del settings.API_PROBLEM_TYPES
    assert body_of(SoldOut())["type"] == "/problems/order.sold_out"


@pytest.mark.django_db
def test_a_refused_request_is_rolled_back_where_each_request_is_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with transaction.atomic():
        Group.objects.create(name="written before the refusal")
        problems.handler(SoldOut("No burgers left."), {})
    assert not Group.objects.filter(name="written before the refusal").exists()
