"""/livez and /readyz."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.test import Client, override_settings

import sagas
from campusg import health


def test_a_running_process_is_alive_without_a_database(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "ok"}


@pytest.mark.django_db
def test_ready_means_database_migrations_and_broker(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "checks": dict.fromkeys(health.CHECKS, "ok")}


@pytest.mark.django_db
@override_settings(EMBEDDED=False, CELERY_BROKER_URL="amqp://guest:guest@127.0.0.1:1//")
def test_without_the_broker_orders_are_still_accepted(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["checks"]["broker"] == "the broker does not answer"


@override_settings(EMBEDDED=False, CELERY_BROKER_URL="amqp://guest:guest@127.0.0.1:1//")
def test_a_broker_that_refuses_connections_is_reported_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(health.NotReady):
        health.check_broker()
    assert time.monotonic() - began < 1


@pytest.mark.django_db
def test_late_events_are_reported_and_orders_still_accepted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sagas, "oldest_unpublished_age", lambda: timedelta(minutes=5))
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["checks"]["events"] == "the oldest unpublished event has waited for 300 s"


@pytest.mark.django_db
def test_a_failing_necessary_check_makes_it_unavailable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise health.NotReady("there are migrations to apply")

    monkeypatch.setitem(health.CHECKS, "migrations", refuse)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"


def test_health_can_only_be_read(client: Client) -> None:
    assert client.post("/livez").status_code == 405
