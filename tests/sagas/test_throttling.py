"""How many requests one caller may make."""

from __future__ import annotations

import pytest
import redis
from django.contrib.auth.models import User
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from sagas.rest import throttling
from sagas.rest.throttling import Throttle

pytestmark = pytest.mark.django_db


class Narrow(Throttle):
    THROTTLE_RATES = {"read": "2/min", "write": "1/min", "anonymous": "1/min"}


class Anything(APIView):
    throttle_classes = [Narrow]
    permission_classes = []

    def get(self, request) -> Response:
        return Response("ok")

    post = get


def ask(user: User | None, method: str = "get") -> Response:
    request = getattr(APIRequestFactory(), method)("/")
    if user is not None:
        force_authenticate(request, user)
    return Anything.as_view()(request)


@pytest.fixture
def alice() -> User:
    return User.objects.create(username="alice")


def test_reads_and_writes_are_counted_apart(alice: User) -> None:
    assert [ask(alice).status_code for _ in range(3)] == [200, 200, 429]
    assert [ask(alice, "post").status_code for _ in range(2)] == [200, 429]


def test_one_caller_does_not_pay_for_another(alice: User) -> None:
    bob = User.objects.create(username="bob")
    assert ask(alice, "post").status_code == ask(bob, "post").status_code == 200


def test_who_is_held_back_learns_for_how_long(alice: User) -> None:
    ask(alice, "post")
    refused = ask(alice, "post")
    assert refused.data["code"] == "rate_limited"
    assert 0 < int(refused["Retry-After"]) <= 60


def test_callers_without_a_token_are_counted_by_address() -> None:
    assert [ask(None).status_code for _ in range(2)] == [200, 429]


def test_when_the_counters_are_out_of_reach_nobody_is_held_back(alice: User, monkeypatch) -> None:
    class Gone:
        def get(self, *_: object) -> None:
            raise redis.ConnectionError("gone")

    monkeypatch.setattr(throttling.Throttle, "cache", Gone())
    assert [ask(alice, "post").status_code for _ in range(3)] == [200, 200, 200]
