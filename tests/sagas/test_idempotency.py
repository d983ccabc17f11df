"""Kept answers: one key and one body are one piece of work, and what a crash or a race leaves."""

from __future__ import annotations

import dataclasses

import pytest
from django.contrib.auth.models import Group

from sagas.rest import idempotency
from sagas.rest.idempotency import Answer, IdempotencyKey, IdempotencyKeyReused, KeyedRequest
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

REQUEST = KeyedRequest(user="ann", method="POST", path="/api/things", key="k", body={"a": 1})
WAYS = [idempotency.once, idempotency.repeatable]


def things() -> int:
    return Group.objects.filter(name__startswith="thing").count()


def work() -> Answer:
    group = Group.objects.create(name=f"thing {things()}")
    return Answer(201, {"name": group.name}, "/api/things/1")


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def do(request: pytest.FixtureRequest):
    return request.param


def test_a_repeated_request_gets_the_same_answer_and_does_nothing(do) -> None:
    first, again = do(REQUEST, work), do(REQUEST, work)
    assert again == dataclasses.replace(first, is_replayed=True)
    assert things() == 1


def test_a_key_with_another_body_is_refused(do) -> None:
    do(REQUEST, work)
    with pytest.raises(IdempotencyKeyReused):
        do(dataclasses.replace(REQUEST, body={"a": 2}), work)
    assert things() == 1


@pytest.mark.parametrize("other", [{"user": "bob"}, {"method": "PUT"}, {"path": "/api/others"}, {"key": "k2"}])
def test_a_key_counts_for_one_user_one_method_and_one_address(do, other: dict[str, str]) -> None:
    do(REQUEST, work)
    assert not do(dataclasses.replace(REQUEST, **other), work).is_replayed
    assert things() == 2


def test_without_a_key_every_request_is_a_new_one(do) -> None:
    for _ in range(2):
        assert not do(dataclasses.replace(REQUEST, key=""), work).is_replayed
    assert things() == 2
    assert not IdempotencyKey.objects.exists()


def test_work_that_fails_leaves_its_key_free(do) -> None:
    def failing() -> Answer:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        do(REQUEST, failing)
    assert not do(REQUEST, work).is_replayed


def test_work_that_is_done_once_is_undone_when_its_answer_cannot_be_kept() -> None:
    with pytest.raises(TypeError):
        idempotency.once(REQUEST, lambda: dataclasses.replace(work(), body={"no": object()}))
    assert things() == 0


@pytest.mark.postgres
def test_of_two_equal_requests_at_one_moment_the_work_is_done_once() -> None:
    def ask() -> str:
        try:
            return str(idempotency.once(REQUEST, work).body["name"])
        except idempotency.IdempotencyInProgress:
            return "in progress"

    answers = at_once([ask] * 8)
    assert set(answers) <= {"thing 0", "in progress"}
    assert things() == 1


@pytest.mark.postgres
def test_repeatable_work_of_two_equal_requests_at_one_moment_keeps_one_answer() -> None:
    answers = at_once([lambda: idempotency.repeatable(REQUEST, lambda: Answer(200, {"refund": "r"})).body] * 8)
    assert answers == [{"refund": "r"}] * 8
    assert IdempotencyKey.objects.count() == 1
