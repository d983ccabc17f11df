"""The admin: everything can be looked at, nothing edited, and what an operator does needs a reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from sagas.models import SagaInstance
from sagas.statuses import Status
from sagas.testing import Runner, history
from tests.sagas.toy import Started, World

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/sagas/sagainstance/"


@pytest.fixture
def engine_runner(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


def staff(*permissions: str, **flags: bool) -> Client:
    user = User.objects.create(username="op", is_staff=True, **flags)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin(engine_runner: Runner) -> Client:
    return staff(is_superuser=True)


def test_the_list_and_the_page_show_status_step_reason_and_history(admin: Client, engine_runner: Runner) -> None:
    World.failures["charge before"] = [ConnectionError("reset by peer")]
    row = Started().start()
    engine_runner.run()
    listing = admin.get(LIST).content.decode()
    assert all(words in listing for words in ("charge", "reset by peer", "saga-busy"))
    page = admin.get(f"{LIST}{row.id}/change/").content.decode()
    assert all(words in page for words in ("saga-timeline", "Step will be retried", "tab.opened"))


def test_nothing_can_be_added_edited_or_deleted(admin: Client, engine_runner: Runner) -> None:
    row = Started().start()
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(f"{LIST}{row.id}/change/", {"status": "COMPLETED"}).status_code == 403
    assert admin.post(f"{LIST}{row.id}/delete/", {"post": "yes"}).status_code == 403


def test_cancelling_asks_for_a_reason_first(admin: Client, engine_runner: Runner) -> None:
    row = Started().start()
    url = f"/admin/sagas/sagainstance/{row.id}/cancel/"
    assert b"Reason" in admin.get(url).content
    admin.post(url, {"reason": " "})
    assert SagaInstance.objects.get(pk=row.id).status == Status.STARTED
    assert admin.post(url, {"reason": "kitchen fire"}).status_code == 302
    saga = SagaInstance.objects.get(pk=row.id)
    assert (saga.status, saga.reason) == (Status.CANCELLING, "kitchen fire")


def test_selected_sagas_are_cancelled_together(admin: Client, engine_runner: Runner) -> None:
    rows = [Started().start(), Started().start()]
    chosen = {"action": "cancel_selected", "_selected_action": [str(row.id) for row in rows]}
    asked = admin.post(LIST, chosen)
    assert all(str(row.id) in asked.content.decode() for row in rows)
    admin.post(LIST, chosen | {"reason": "closing early"})
    assert set(SagaInstance.objects.values_list("status", flat=True)) == {Status.CANCELLING}


def test_what_needs_attention_is_retried_with_a_reason(admin: Client, engine_runner: Runner) -> None:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 4
    row = Started().start()
    engine_runner.run_to_end()
    admin.post(f"/admin/sagas/sagainstance/{row.id}/retry/", {"reason": "bell repaired"})
    engine_runner.run()
    assert SagaInstance.objects.get(pk=row.id).status == Status.COMPLETED
    assert "retried ring_bell" in history(row.id)


def test_a_saga_that_cannot_be_cancelled_says_why(admin: Client, engine_runner: Runner) -> None:
    row = Started().start()
    url = f"/admin/sagas/sagainstance/{row.id}/cancel/"
    admin.post(url, {"reason": "x"})
    again = admin.post(url, {"reason": "x"}, follow=True)
    assert "already" in again.content.decode()


def test_looking_is_not_acting(engine_runner: Runner) -> None:
    looker = staff("view_sagainstance")
    row = Started().start()
    assert looker.get(f"{LIST}{row.id}/change/").status_code == 200
    assert looker.post(f"/admin/sagas/sagainstance/{row.id}/cancel/", {"reason": "x"}).status_code == 403
    assert SagaInstance.objects.get(pk=row.id).status == Status.STARTED
