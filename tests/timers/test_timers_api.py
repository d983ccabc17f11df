"""The timers over HTTP: the addresses, the permissions, and the requests that are refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from sagas.storage import clock
from tests.timers.conftest import Recorder
from timers import services, steps
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _moved_clock_is_reset() -> Iterator[None]:
    with clock.moved():
        yield


def client(username: str, *, is_staff: bool = False) -> APIClient:
    api = APIClient()
    api.force_authenticate(User.objects.get_or_create(username=username, defaults={"is_staff": is_staff})[0])
    return api


@pytest.fixture
def olga(db: None) -> APIClient:
    """An operator."""
    return client("olga", is_staff=True)


def body(**changes: Any) -> dict[str, Any]:
    given = {"event_type": "test.event", "entity_id": "e1", "scheduled_at": (timezone.now() + HOUR).isoformat()}
    return given | changes


def schedule(api: APIClient, **changes: Any) -> Any:
    return api.post("/api/schedule", body(**changes), format="json")


@pytest.mark.parametrize("path", ["/api/schedule", "/api/schedule/", "/schedule", "/schedule/"])
def test_a_timer_is_scheduled_at_every_address(olga: APIClient, handler: Recorder, path: str) -> None:
    response = olga.post(path, body(payload={"n": 1}), format="json")
    assert response.status_code == 201
    event = response.json()
    assert (event["status"], event["payload"], event["entity_id"]) == ("SCHEDULED", {"n": 1}, "e1")
    assert olga.get(response.headers["Location"]).json() == event


def test_a_timer_scheduled_over_http_fires(olga: APIClient, handler: Recorder) -> None:
    schedule(olga)
    clock.advance(HOUR + timedelta(seconds=1))
    assert services.fire_due() == 1
    assert handler.calls == ["e1"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"event_type": "unknown.event"}, "timer.unknown_event_type"),
        ({"scheduled_at": "2020-01-01T00:00:00Z"}, "timer.in_the_past"),
        ({"scheduled_at": "soon"}, "request.invalid"),
        ({"scheduled_at": None}, "request.invalid"),
        ({"entity_id": ""}, "request.invalid"),
        ({"entity_id": "x" * 101}, "request.invalid"),
        ({"payload": [1]}, "request.invalid"),
        ({"payload": {"x": "y" * 9000}}, "timer.payload_too_large"),
        ({"status": "FIRED"}, "request.invalid"),
    ],
    ids=str,
)
def test_a_timer_that_cannot_fire_is_refused(
    olga: APIClient, handler: Recorder, changes: dict[str, Any], code: str
) -> None:
    response = schedule(olga, **changes)
    assert response.status_code == 400
    assert response.json()["code"] == code
    assert response.json()["advice"]
    assert not ScheduledEvent.objects.exists()


def test_a_number_that_json_cannot_express_is_refused(olga: APIClient, handler: Recorder) -> None:
    text = json.dumps(body(payload={"n": 0})).replace('"n": 0', '"n": 1e400')
    response = olga.post("/api/schedule", text, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["code"] == "timer.payload_not_json"


def test_a_customer_schedules_no_timers(handler: Recorder) -> None:
    assert schedule(client("alice")).status_code == 403
    assert not ScheduledEvent.objects.exists()


def test_events_are_filtered_by_status_in_any_case_and_repeated(olga: APIClient, handler: Recorder) -> None:
    for entity in ("e1", "e2", "e3"):
        schedule(olga, entity_id=entity)
    ScheduledEvent.objects.filter(entity_id="e2").mark_cancelled()
    ScheduledEvent.objects.filter(entity_id="e3").mark_fired()

    def found(query: str) -> set[str]:
        return {event["entity_id"] for event in olga.get(f"/api/events?{query}").json()}

    assert found("") == {"e1", "e2", "e3"}
    assert found("status=scheduled") == {"e1"}
    assert found("status=Scheduled&status=fired") == {"e1", "e3"}
    assert found("status=cancelled,fired") == {"e2", "e3"}
    assert found("entity_id=e2&event_type=test.event") == {"e2"}
    assert found("event_type=other") == set()
    assert found("due_before=2020-01-01T00:00:00Z") == set()
    assert found("due_after=2020-01-01T00:00:00Z") == {"e1", "e2", "e3"}


@pytest.mark.parametrize("query", ["status=late", "due_before=soon"])
def test_a_filter_that_cannot_be_understood_is_refused(olga: APIClient, query: str) -> None:
    response = olga.get(f"/events?{query}")
    assert response.status_code == 400
    assert response.json()["code"] == "request.invalid"


@pytest.mark.parametrize("prefix", ["/api", ""])
def test_an_event_is_cancelled_once(olga: APIClient, handler: Recorder, prefix: str) -> None:
    event_id = schedule(olga).json()["id"]
    response = olga.post(f"{prefix}/events/{event_id}/cancel")
    assert response.status_code == 200
    assert response.json()["status"] == "CANCELLED"
    again = olga.post(f"{prefix}/events/{event_id}/cancel")
    assert again.status_code == 409
    assert again.json()["code"] == "timer.already_settled"
    assert again.json()["event_status"] == "CANCELLED"


@pytest.mark.parametrize("event_id", ["nonsense", pytest.param(str(uuid.uuid4()), id="unknown")])
def test_an_id_of_no_event_is_not_found(olga: APIClient, event_id: str) -> None:
    for response in (olga.get(f"/api/events/{event_id}"), olga.post(f"/api/events/{event_id}/cancel")):
        assert response.status_code == 404
        assert response.json()["code"] == "timer.unknown_event"


def test_a_customer_sees_the_timers_of_their_own_orders_only(db: None) -> None:
    mine = steps.start_timer(order_id="o1", owner="alice", saga_id="s1")["timer_id"]
    other = steps.start_timer(order_id="o2", owner="bob", saga_id="s2")["timer_id"]
    alice = client("alice")
    assert [event["id"] for event in alice.get("/api/events").json()] == [mine]
    assert alice.get(f"/api/events/{other}").status_code == 404
    assert alice.post(f"/api/events/{other}/cancel").status_code == 404
    assert alice.post(f"/api/events/{mine}/cancel").status_code == 403


@pytest.mark.parametrize("path", ["/api/timers/for-cancellation", "/timers/for-cancellation/"])
def test_expired_timers_are_shown_as_older_clients_know_them(olga: APIClient, settings: Any, path: str) -> None:
    timer_id = steps.start_timer(order_id="o1", owner="alice", saga_id="s1")["timer_id"]
    assert olga.get(path).json() == []
    clock.advance(settings.ORDER_ACCEPTANCE_WINDOW + timedelta(seconds=1))
    [shown] = olga.get(path).json()
    assert shown.pop("ExpiresAt")
    assert shown == {"TimerId": timer_id, "OrderId": "o1", "SagaId": "s1", "Status": "Expired"}


def test_without_a_token_nothing_is_shown(db: None) -> None:
    assert APIClient().get("/api/events").status_code == 401
    assert APIClient().post("/api/schedule", {}, format="json").status_code == 401
