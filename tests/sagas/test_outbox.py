"""The relay: what is committed is published, in order, at least once, and nothing else ever."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from celery import current_app
from kombu import Connection, Exchange, Queue

from sagas import outbox
from sagas.models import SagaEvent
from sagas.testing import Runner
from tests.sagas.toy import SoldOut, Started, World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def engine_runner(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.fixture
def inbox(transactional_db: None) -> Iterator[list[dict]]:
    """A queue of our own on the exchange, and what arrived in it."""
    exchange = Exchange("campusg.events", type="topic", durable=True)
    received: list[dict] = []
    with Connection(current_app.conf.broker_url) as connection:
        name = f"test-{uuid.uuid4().hex}"
        queue = Queue(name, exchange, routing_key="#", channel=connection, durable=False, auto_delete=True)
        queue.declare()

        def read() -> list[dict]:
            while (message := queue.get(no_ack=True)) is not None:
                received.append(message.payload | {"routing_key": message.delivery_info["routing_key"]})
            return received

        yield read  # type: ignore[misc]
        queue.delete()


def test_events_arrive_in_order_with_their_envelope(engine_runner: Runner, inbox) -> None:
    row = Started().start()
    engine_runner.run()
    assert outbox.relay() == 4
    messages = inbox()
    assert [message["type"] for message in messages] == ["saga.started", "tab.opened", "charge.made", "saga.completed"]
    first = messages[1]
    assert first["correlation_id"] == str(row.id)
    assert first["id"] == first["eventId"] == str(outbox.event_id(row.id, 2))
    assert first["causation_id"] == messages[0]["id"]
    assert first["payload"] == {"subject": row.subject, "order_id": row.subject}
    assert first["timestamp"].endswith("Z")
    assert first["routing_key"] == "tab.opened"
    assert outbox.backlog() == 0
    assert outbox.relay() == 0


def test_a_refusal_tells_its_code(engine_runner: Runner, inbox) -> None:
    World.troubles["charge before"] = [SoldOut("No soup left.")]
    Started().start()
    engine_runner.run()
    outbox.relay()
    failed = next(message for message in inbox() if message["type"] == "charge.failed")
    assert failed["payload"]["code"] == "toy.sold_out"


def test_a_broker_that_is_down_leaves_the_events_for_later(engine_runner: Runner, monkeypatch) -> None:
    Started().start()
    engine_runner.run()
    waiting = outbox.backlog()

    def unreachable(events: object) -> None:
        raise ConnectionRefusedError("broker is down")

    monkeypatch.setattr(outbox, "_publish", unreachable)
    assert outbox.relay() == 0
    assert outbox.backlog() == waiting > 0
    monkeypatch.undo()
    assert outbox.relay() == waiting


def test_an_event_has_the_same_id_however_often_it_is_sent(engine_runner: Runner) -> None:
    Started().start()
    event = SagaEvent.objects.exclude(type="").first()
    assert outbox.envelope(event, None)["id"] == outbox.envelope(event, None)["id"]
