"""Operators put dependencies on hold and release them: from a terminal, over HTTP and in the admin."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from sagas.holds import holds
from sagas.models import SagaHold
from sagas.storage import storage
from sagas.testing import Runner
from tests.sagas.toy import Started

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/sagas/sagahold/"


@pytest.fixture
def messages(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


def user(name: str, *permissions: str, **flags: bool) -> User:
    user = User.objects.create(username=name, **flags)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def api(*permissions: str) -> APIClient:
    client = APIClient()
    client.force_authenticate(user("op", *permissions))
    return client


def terminal(*words: str) -> str:
    out = StringIO()
    call_command("sagas", *words, stdout=out)
    return out.getvalue()


def held(messages: Runner) -> str:
    holds.hold_dependency("bank", reason="down", actor="op")
    row = Started().start()
    messages.run()
    return str(row.id)


# -- from a terminal ------------------------------------------------------------------------------------------------
def test_a_dependency_is_held_listed_and_released_from_a_terminal(messages: Runner) -> None:
    assert "bank             not on hold, 0 sagas wait" in terminal("holds")
    assert terminal("hold", "bank", "--reason", "The bank is down") == "bank is on hold.\n"
    row = Started().start()
    messages.run()
    assert "by cli, 1 sagas wait: The bank is down" in terminal("holds")
    assert "held: bank" in terminal("list")
    assert "waits   held: bank since" in terminal("show", str(row.id))
    assert terminal("release", "bank", "--per-second", "5") == "bank is released: 1 sagas go on, 5 a second.\n"
    kept = SagaHold.objects.get()
    assert (kept.actor, kept.released_by, kept.per_second) == ("cli", "cli", 5)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("hold", "bnak", "--reason", "x"), "No step uses 'bnak'; steps use bank"),
        (("release", "bank"), "bank is not on hold"),
        (("release", "bank", "--per-second", "0"), "between 0.01 and 1000"),
        (("hold", "bank"), "--reason"),
    ],
)
def test_what_makes_no_sense_is_refused_in_the_terminal(messages: Runner, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        terminal(*words)


# -- over HTTP ------------------------------------------------------------------------------------------------------
def test_an_operator_holds_and_releases_over_http(messages: Runner) -> None:
    operator = api("view_sagainstance", "hold_dependency")
    made = operator.post("/api/sagas/holds", {"dependency": "bank", "reason": "down"})
    assert (made.status_code, made.json()["is_on_hold"], made.json()["actor"]) == (201, True, "op")
    row = Started().start()
    messages.run()
    (listed,) = [state for state in operator.get("/api/sagas/holds").json() if state["dependency"] == "bank"]
    assert (listed["is_on_hold"], listed["sagas_waiting"], listed["is_automatic"]) == (True, 1, False)
    assert operator.get(f"/api/sagas/{row.id}").json()["waiting_reason"] == "held: bank"
    released = operator.post("/api/sagas/holds/bank/release", {"reason": "up", "per_second": 3})
    assert (released.status_code, released.json()["is_on_hold"], released.json()["per_second"]) == (200, False, 3)
    messages.run_to_end()
    assert operator.get(f"/api/sagas/{row.id}").json()["waiting_reason"] is None


def test_mistakes_over_http_are_explained(messages: Runner) -> None:
    operator = api("view_sagainstance", "hold_dependency")
    body = {"dependency": "bank", "reason": "down"}
    assert operator.post("/api/sagas/holds", body | {"dependency": "bnak"}).json()["code"] == "saga.unknown_dependency"
    assert operator.post("/api/sagas/holds", {"dependency": "bank"}).status_code == 400
    assert operator.post("/api/sagas/holds", body | {"until": "noon"}).status_code == 400
    assert operator.post("/api/sagas/holds/bank/release", {"reason": "x"}).json()["code"] == "saga.not_held"
    operator.post("/api/sagas/holds", body)
    assert operator.post("/api/sagas/holds", body).json()["code"] == "saga.already_held"
    assert operator.post("/api/sagas/holds/bank/release", {"reason": "x", "per_second": 0}).status_code == 400


def test_only_an_operator_holds_and_only_who_sees_all_looks(messages: Runner) -> None:
    looker = api("view_sagainstance")
    assert looker.get("/api/sagas/holds").status_code == 200
    assert looker.post("/api/sagas/holds", {"dependency": "bank", "reason": "x"}).status_code == 403
    assert looker.post("/api/sagas/holds/bank/release", {"reason": "x"}).status_code == 403
    customer = APIClient()
    customer.force_authenticate(user("ann"))
    assert customer.get("/api/sagas/holds").status_code == 403
    assert APIClient().get("/api/sagas/holds").status_code == 401
    assert not SagaHold.objects.exists()


# -- in the admin ---------------------------------------------------------------------------------------------------
@pytest.fixture
def admin(messages: Runner) -> Client:
    client = Client()
    client.force_login(user("boss", is_staff=True, is_superuser=True))
    return client


def test_a_dependency_is_put_on_hold_in_the_admin(admin: Client) -> None:
    page = admin.get(f"{LIST}add/").content.decode()
    assert all(words in page for words in ('value="bank"', 'value="stripe"', "reason"))
    assert admin.post(f"{LIST}add/", {"dependency": "bank", "reason": " "}).status_code == 200
    assert not SagaHold.objects.exists()
    assert admin.post(f"{LIST}add/", {"dependency": "bank", "reason": "down"}).status_code == 302
    made = SagaHold.objects.get()
    assert (made.dependency, made.reason, made.actor) == ("bank", "down", "boss")
    again = admin.post(f"{LIST}add/", {"dependency": "bank", "reason": "down"})
    assert "on hold already" in again.content.decode()
    shown = admin.get(f"{LIST}{made.pk}/change/").content.decode()
    assert f"{made.held_at:%d %b %H:%M:%S}" in shown
    assert all(words in shown for words in ("On hold", "Sagas waiting", "Next try"))


def test_releasing_in_the_admin_asks_for_a_reason_and_a_pace(admin: Client, messages: Runner) -> None:
    saga_id = held(messages)
    listing = admin.get("/admin/sagas/sagainstance/").content.decode()
    assert "held: bank" in listing
    assert "held: bank" in admin.get(f"/admin/sagas/sagainstance/{saga_id}/change/").content.decode()
    chosen = {"action": "release_selected", "_selected_action": [str(SagaHold.objects.get().pk)]}
    asked = admin.post(LIST, chosen).content.decode()
    assert all(words in asked for words in ("per_second", "20.0", "Reason"))
    admin.post(LIST, chosen | {"reason": "up", "per_second": "0"})
    assert storage().active_hold("bank") is not None
    admin.post(LIST, chosen | {"reason": "up", "per_second": "2"})
    released = SagaHold.objects.get()
    assert (released.released_by, released.release_reason, released.per_second) == ("boss", "up", 2)
    assert "not on hold" in admin.post(LIST, chosen | {"reason": "up", "per_second": "2"}, follow=True).content.decode()


def test_who_may_only_look_cannot_hold_in_the_admin(messages: Runner) -> None:
    held(messages)
    client = Client()
    client.force_login(user("looker", "view_sagahold", is_staff=True))
    assert client.get(LIST).status_code == 200
    assert client.get(f"{LIST}add/").status_code == 403
    chosen = {"action": "release_selected", "_selected_action": [str(SagaHold.objects.get().pk)]}
    client.post(LIST, chosen | {"reason": "x", "per_second": "1"})
    assert storage().active_hold("bank") is not None
