"""The sagas API: what is listed, shown, cancelled and retried, and by whom."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from sagas.engine import commands
from sagas.models import SagaInstance
from sagas.statuses import Status
from sagas.testing import Runner, undone
from tests.sagas.toy import SoldOut, Started, World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def engine_runner(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


def client(name: str, *permissions: str, **flags: bool) -> APIClient:
    user = User.objects.create(username=name, **flags)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    api = APIClient()
    api.force_authenticate(user)
    return api


@pytest.fixture
def ann(engine_runner: Runner) -> APIClient:
    return client("ann")


@pytest.fixture
def operator(engine_runner: Runner) -> APIClient:
    return client("op", "view_sagainstance", "retry_sagainstance", "cancel_sagainstance")


@pytest.mark.parametrize("prefix", ["/api/sagas", "/sagas"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_saga_is_found_at_every_address(ann: APIClient, engine_runner: Runner, prefix: str, slash: str) -> None:
    row = Started().start()
    engine_runner.run()
    response = ann.get(f"{prefix}/{row.id}{slash}")
    assert response.status_code == 200
    body = response.json()
    assert (body["id"], body["status"], body["current_step"]) == (str(row.id), "COMPLETED", None)
    assert body["history"][0]["step"] == "saga"
    assert [line["step"] for line in body["history"] if line["status"] == "COMPLETED"][:2] == ["open_tab", "look"]


def test_a_running_saga_shows_its_current_step_and_its_error(ann: APIClient, engine_runner: Runner) -> None:
    World.failures["charge before"] = [ConnectionError("reset by peer")]
    row = Started().start()
    engine_runner.run()
    body = ann.get(f"/api/sagas/{row.id}").json()
    assert (body["status"], body["current_step"], body["attempt"]) == ("STARTED", "charge", 1)
    assert "reset by peer" in body["error"]
    assert body["next_try_at"] is not None


def test_somebody_elses_saga_is_not_there(engine_runner: Runner) -> None:
    row = Started().start()
    bob = client("bob")
    for response in (bob.get(f"/api/sagas/{row.id}"), bob.post(f"/api/sagas/{row.id}/cancel")):
        assert response.status_code == 404
        assert response.json()["code"] == "saga.unknown"
    assert bob.get("/api/sagas").json() == []


def test_a_saga_of_a_newer_release_is_shown_and_its_cancellation_is_for_another_process(
    ann: APIClient, engine_runner: Runner
) -> None:
    row = Started().start()
    SagaInstance.objects.filter(pk=row.id).update(version=99)
    assert ann.get(f"/api/sagas/{row.id}").status_code == 200
    for response in (ann.get(f"/api/sagas/{row.id}/cancel"), ann.post(f"/api/sagas/{row.id}/cancel")):
        assert (response.status_code, response.json()["code"]) == (503, "saga.unknown_definition")
        assert int(response["Retry-After"]) > 0
        assert "release" in response.json()["advice"]
    assert SagaInstance.objects.get(pk=row.id).status == Status.STARTED


@pytest.mark.parametrize("wrong", ["42", "no-uuid", "%00", pytest.param(str(uuid.uuid4()), id="unknown")])
def test_an_id_that_means_nothing_is_a_404(ann: APIClient, wrong: str) -> None:
    response = ann.get(f"/api/sagas/{wrong}")
    assert response.status_code == 404
    assert response.json()["code"] in {"saga.unknown", "not_found"}


def test_nothing_tells_a_wrong_id_from_somebody_elses(engine_runner: Runner) -> None:
    bob = client("bob")
    ids = [str(Started().start().id), str(uuid.uuid4()), "nonsense"]
    answers = [bob.get(f"/api/sagas/{each}").content.decode().replace(each, "ID") for each in ids]
    assert len(set(answers)) == 1


def test_staff_sees_all_and_may_filter(operator: APIClient, engine_runner: Runner) -> None:
    done = Started().start()
    engine_runner.run()
    World.failures["cook"] = [SoldOut("no")]
    undone = Started().start()
    engine_runner.run()
    running = Started().start()

    def ids(query: str) -> set[str]:
        return {saga["id"] for saga in operator.get(f"/api/sagas?{query}").json()}

    assert ids("") == {str(done.id), str(undone.id), str(running.id)}
    assert ids("status=completed") == {str(done.id)}
    assert ids("status=InProgress") == {str(running.id)}
    assert ids("status=Completed&status=compensated") == {str(done.id), str(undone.id)}
    assert ids("status=COMPLETED,STARTED") == {str(done.id), str(running.id)}
    assert ids(f"order_id={done.subject}") == {str(done.id)}
    assert ids("since=2999-01-01T00:00:00Z") == set()
    wrong = operator.get("/api/sagas?status=sleeping")
    assert wrong.status_code == 400
    assert "sleeping" in wrong.json()["detail"]


def test_a_list_is_an_array_and_the_next_page_is_in_the_link_header(operator: APIClient) -> None:
    for _ in range(3):
        Started().start()
    page = operator.get("/api/sagas?limit=2")
    assert len(page.json()) == 2
    assert 'rel="next"' in page["Link"]
    following = operator.get(page["Link"].split(";")[0].strip("<>"))
    assert len(following.json()) == 1


def test_cancelling_is_accepted_once_and_repeated_with_its_key(ann: APIClient, engine_runner: Runner) -> None:
    row = Started().start()
    engine_runner.run()
    url = f"/sagas/{row.id}/cancel"
    first = ann.post(url, headers={"Idempotency-Key": "k1"})
    assert first.status_code == 202
    assert first.json()["reason"] == "Manual cancellation requested by user"
    assert ann.post(url, headers={"Idempotency-Key": "k1"}).status_code == 202
    again = ann.post(url)
    assert (again.status_code, again.json()["code"]) == (409, "saga.already_cancelling")
    engine_runner.run()
    assert SagaInstance.objects.get(pk=row.id).status == Status.CANCELLED
    assert ann.post(url, headers={"Idempotency-Key": "k1"}).status_code == 202
    over = ann.post(url)
    assert (over.status_code, over.json()["code"]) == (409, "saga.not_cancellable")
    assert over.json()["current_status"] == "CANCELLED"


@pytest.mark.parametrize("path", ["/sagas/{}/cancel", "/sagas/{}/cancel/", "/api/sagas/{}/cancel/"])
def test_one_key_counts_at_every_address_of_a_saga(ann: APIClient, engine_runner: Runner, path: str) -> None:
    row = Started().start()
    first = ann.post(f"/api/sagas/{row.id}/cancel", {"reason": "late"}, headers={"Idempotency-Key": "k1"})
    engine_runner.run()
    again = ann.post(path.format(row.id), {"reason": "late"}, headers={"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"] == f"/api/sagas/{row.id}"


def test_a_key_that_came_with_another_reason_is_refused(ann: APIClient, engine_runner: Runner) -> None:
    row = Started().start()
    ann.post(f"/api/sagas/{row.id}/cancel", headers={"Idempotency-Key": "k1"})
    other = ann.post(f"/api/sagas/{row.id}/cancel", {"reason": "late"}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")


def test_a_refused_cancellation_leaves_its_key_free(ann: APIClient, engine_runner: Runner) -> None:
    row = Started().start()
    World.is_claimed = True
    key = {"Idempotency-Key": "k1"}
    assert ann.post(f"/api/sagas/{row.id}/cancel", headers=key).json()["code"] == "toy.taken"
    World.is_claimed = False
    assert ann.post(f"/api/sagas/{row.id}/cancel", headers=key).status_code == 202


def test_a_cancellation_that_the_release_before_started_is_repeated_with_its_key(
    ann: APIClient, engine_runner: Runner
) -> None:
    row = Started().start()
    commands.cancel(row.id, reason_code="other", reason="late", actor="ann", request_key="ann:k1")
    assert ann.post(f"/api/sagas/{row.id}/cancel", headers={"Idempotency-Key": "k1"}).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        {"reason": 7 * [1]},
        {"reason": "x" * 501},
        {"reason_code": "No Spaces"},
        {"why": "x"},
        ["reason"],
        {"reason": ""},
    ],
)
def test_a_bad_cancellation_changes_nothing(ann: APIClient, engine_runner: Runner, body: object) -> None:
    row = Started().start()
    response = ann.post(f"/api/sagas/{row.id}/cancel", body)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert SagaInstance.objects.get(pk=row.id).status == Status.STARTED


def test_only_an_operator_retries_and_only_what_waits_for_one(
    ann: APIClient, operator: APIClient, engine_runner: Runner
) -> None:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 4
    row = Started().start()
    engine_runner.run_to_end()
    url = f"/api/sagas/{row.id}/retry"
    assert ann.post(url, {"reason": "please"}).status_code == 403
    assert operator.post(url).status_code == 400
    assert operator.post(url, {"reason": "bell repaired"}).status_code == 202
    engine_runner.run()
    late = operator.post(url, {"reason": "again"})
    assert (late.status_code, late.json()["code"]) == (409, "saga.not_retryable")
    line = next(line for line in operator.get(f"/api/sagas/{row.id}").json()["history"] if line["action"] == "retried")
    assert (line["message"], line["actor"]) == ("bell repaired", "op")


def test_without_a_token_nothing_is_shown() -> None:
    response = APIClient().get("/api/sagas")
    assert response.status_code == 401
    assert response.json()["code"] == "auth.required"


# -- previews -------------------------------------------------------------------------------------------------------
def test_a_preview_names_what_would_run_and_changes_nothing(ann: APIClient, engine_runner: Runner) -> None:
    row = Started().start()
    engine_runner.run()
    url = f"/api/sagas/{row.id}/cancel"
    shown = ann.get(url)
    assert shown.json()["runs"] == ["tests.mute_bell", "tests.give_back", "tests.throw_away", "tests.close_tab"]
    saga = SagaInstance.objects.get(pk=row.id)
    assert (saga.status, saga.epoch) == (Status.COMPLETED, row.epoch)
    assert ann.post(url, headers={"If-Match": shown["ETag"]}).status_code == 202
    engine_runner.run()
    assert [f"tests.{name}" for name in undone(row.id)] == shown.json()["runs"]


def test_a_preview_that_is_out_of_date_cancels_nothing(ann: APIClient, engine_runner: Runner) -> None:
    row = Started().start()
    url = f"/api/sagas/{row.id}/cancel"
    tag = ann.get(url)["ETag"]
    engine_runner.run()
    late = ann.post(url, headers={"If-Match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "saga.moved")
    assert SagaInstance.objects.get(pk=row.id).status == Status.COMPLETED


def test_what_cannot_be_cancelled_cannot_be_previewed(ann: APIClient, engine_runner: Runner) -> None:
    row = Started().start()
    ann.post(f"/api/sagas/{row.id}/cancel")
    assert ann.get(f"/api/sagas/{row.id}/cancel").json()["code"] == "saga.already_cancelling"
    World.is_claimed = True
    other = Started().start()
    assert ann.get(f"/api/sagas/{other.id}/cancel").json()["code"] == "toy.taken"
