"""The relay: what is committed is published, in order, at least once, and nothing else ever."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from celery import current_app
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from sagas.conf import options
from sagas.definition import registry
from sagas.models import SagaEvent, SagaInstance
from sagas.outbox import publisher as publishing
from sagas.outbox import relay
from sagas.outbox.publisher import Message, Publisher
from sagas.storage import storage
from sagas.testing import Runner
from tests.sagas.toy import SoldOut, Started, World

pytestmark = pytest.mark.django_db(transaction=True)

Inbox = Callable[[], list[dict]]
NO_BROKER = "amqp://guest:guest@127.0.0.1:1//"


@pytest.fixture(autouse=True)
def _fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_resting", {})
    monkeypatch.setattr(relay, "_warned_at", float("-inf"))


@pytest.fixture
def engine_runner(transactional_db: None) -> Iterator[Runner]:
    with Runner() as runner:
        yield runner


@pytest.fixture
def exchange(transactional_db: None) -> Iterator[str]:
    """An exchange of this test's own."""
    name = f"test-{uuid.uuid4().hex}"
    with override_settings(SAGAS=settings.SAGAS | {"EVENT_EXCHANGE": name}):
        yield name
    # The in-process broker can only delete what was declared.
    with Connection(current_app.conf.broker_url) as connection, contextlib.suppress(KeyError):
        Exchange(name, channel=connection.default_channel).delete()


@pytest.fixture
def inbox(exchange: str) -> Iterator[Inbox]:
    """A queue of our own on the exchange, and what arrived in it."""
    received: list[dict] = []
    with Connection(current_app.conf.broker_url) as connection:
        queue = Queue(f"{exchange}-all", Exchange(exchange, type="topic"), "#", channel=connection)
        queue.declare()

        def read() -> list[dict]:
            while (message := queue.get(no_ack=True)) is not None:
                received.append(message.payload | {"routing_key": message.delivery_info["routing_key"]})
            return received

        yield read
        queue.delete()


@pytest.fixture
def full_queue(exchange: str) -> Iterator[Callable[[str], Queue]]:
    """Bind a queue that takes nothing: the broker answers every message for it with a refusal."""
    with Connection(current_app.conf.broker_url) as connection:
        made: list[Queue] = []

        def bind(key: str) -> Queue:
            arguments = {"x-max-length": 0, "x-overflow": "reject-publish"}
            name = f"{exchange}-{key}"
            made.append(Queue(name, Exchange(exchange, type="topic"), key, queue_arguments=arguments))
            made[-1](connection.default_channel).declare()
            return made[-1](connection.default_channel)

        yield bind
        for queue in made:
            queue(connection.default_channel).delete()


def sequences(messages: list[dict]) -> dict[str, list[int]]:
    """The numbers of each subject as they were first seen."""
    seen: dict[str, list[int]] = defaultdict(list)
    for message in messages:
        if message["subject_sequence"] not in seen[message["payload"]["subject"]]:
            seen[message["payload"]["subject"]].append(message["subject_sequence"])
    return seen


def waiting() -> int:
    return sum(found.events for found in relay.backlog())


def test_events_arrive_in_order_with_their_envelope(engine_runner: Runner, inbox: Inbox) -> None:
    row = Started().start()
    engine_runner.run()
    assert relay.relay() == 4
    messages = inbox()
    assert [message["type"] for message in messages] == ["saga.started", "tab.opened", "charge.made", "saga.completed"]
    first = messages[1]
    assert first["correlation_id"] == str(row.id)
    assert first["id"] == first["eventId"] == str(relay.event_id(row.id, 2))
    assert first["causation_id"] == messages[0]["id"]
    assert first["payload"] == {"subject": row.subject, "order_id": row.subject}
    assert first["timestamp"].endswith("Z")
    assert first["routing_key"] == "tab.opened"
    assert relay.backlog() == []
    assert relay.relay() == 0


def test_a_refusal_tells_its_code(engine_runner: Runner, inbox: Inbox) -> None:
    World.failures["charge before"] = [SoldOut("No soup left.")]
    Started().start()
    engine_runner.run()
    relay.relay()
    failed = next(message for message in inbox() if message["type"] == "charge.failed")
    assert failed["payload"]["code"] == "toy.sold_out"


def test_an_event_has_the_same_id_however_often_it_is_sent(engine_runner: Runner) -> None:
    Started().start()
    event = SagaEvent.objects.exclude(type="").first()
    assert relay.envelope(event, None)["id"] == relay.envelope(event, None)["id"]


# -- numbers --------------------------------------------------------------------------------------------------------
def test_the_events_of_a_subject_are_numbered_over_all_its_sagas(engine_runner: Runner, inbox: Inbox) -> None:
    first = Started().start()
    engine_runner.run()
    relay.relay()
    second = Started().start()
    SagaInstance.objects.filter(pk=second.id).update(subject=first.subject)
    engine_runner.run()
    relay.relay()
    assert sequences(inbox()) == {first.subject: list(range(1, 9))}


def test_a_number_stays_when_its_event_is_sent_again(engine_runner: Runner, inbox: Inbox) -> None:
    """The relay was killed between the broker's confirm and its mark, and an older row was committed since then."""
    row = Started().start()
    engine_runner.run()
    relay.relay()
    before = {message["id"]: message["subject_sequence"] for message in inbox()}
    SagaEvent.objects.filter(saga_id=row.id).update(published_at=None)
    SagaEvent.objects.filter(saga_id=row.id, seq=1).update(id=0)
    relay.relay()
    again = inbox()[len(before) :]
    assert {message["id"]: message["subject_sequence"] for message in again} == before


def test_an_event_committed_late_comes_after_what_was_numbered_before_it(engine_runner: Runner, inbox: Inbox) -> None:
    """Its row is older, but the relay could not see it; a retry must not let it overtake."""
    first, late = Started().start(), Started().start()
    SagaInstance.objects.filter(pk=late.id).update(subject=first.subject)
    SagaEvent.objects.filter(saga_id=late.id).update(published_at=storage().now())
    storage().number_events(100)
    SagaEvent.objects.filter(saga_id=late.id, seq=1).update(published_at=None, id=-1)
    relay.relay()
    assert [message["correlation_id"] for message in inbox()][:1] == [str(first.id)]
    assert sequences(inbox())[first.subject] == sorted(sequences(inbox())[first.subject])


# -- what does not go out -------------------------------------------------------------------------------------------
def test_a_broker_that_is_down_leaves_the_events_for_later(engine_runner: Runner, exchange: str, monkeypatch) -> None:
    Started().start()
    engine_runner.run()
    before = waiting()
    monkeypatch.setattr(current_app.conf, "broker_write_url", NO_BROKER)
    assert relay.relay() == 0
    assert waiting() == before > 0
    monkeypatch.undo()
    assert relay.relay() == before


def test_the_log_always_says_why(engine_runner: Runner, exchange: str, monkeypatch, caplog) -> None:
    def time_out(self: Publisher) -> None:
        raise TimeoutError

    Started().start()
    monkeypatch.setattr(Publisher, "_open", time_out)
    with caplog.at_level(logging.WARNING, "sagas"):
        assert relay.relay() == 0
    assert "Events not published: TimeoutError() (1)" in caplog.messages


def test_an_event_that_cannot_be_encoded_delays_its_own_order_only(
    engine_runner: Runner, inbox: Inbox, monkeypatch
) -> None:
    broken, whole = Started().start(), Started().start()
    engine_runner.run()
    data = SagaInstance.objects.get(pk=broken.id).data
    SagaInstance.objects.filter(pk=broken.id).update(data={"results": {}})
    assert relay.relay() == 4
    assert {message["correlation_id"] for message in inbox()} == {str(whole.id)}
    SagaInstance.objects.filter(pk=broken.id).update(data=data)
    assert relay.relay() == 4


def test_events_of_a_newer_release_are_left_to_a_relay_of_it(engine_runner: Runner, inbox: Inbox) -> None:
    """Who does not know the definition does not know what it publishes with every event."""
    row = Started().start()
    engine_runner.run()
    definition = registry.get(row.name, row.version)
    registry.unregister(definition)
    try:
        assert relay.relay() == 0
    finally:
        registry.register(definition)
    assert relay.relay() == 4
    assert {message["payload"]["order_id"] for message in inbox()} == {row.subject}


def test_events_whose_definition_is_gone_for_good_go_out_in_the_end(engine_runner: Runner, exchange: str) -> None:
    row = Started().start()
    engine_runner.run()
    definition = registry.get(row.name, row.version)
    registry.unregister(definition)
    try:
        engine_runner.let_pass(options().backlog_patience + timedelta(seconds=1))
        assert relay.relay() == 4
    finally:
        registry.register(definition)


@pytest.mark.rabbitmq
def test_what_was_confirmed_is_marked_though_a_later_event_is_refused(
    engine_runner: Runner, inbox: Inbox, full_queue: Callable[[str], Queue]
) -> None:
    """Two orders: their first events go out, their charges are refused, and what comes after those waits."""
    queue = full_queue("charge.#")
    rows = [Started().start() for _ in range(2)]
    engine_runner.run()
    assert relay.relay() == 4
    assert relay.relay() == 0
    assert "saga.completed" not in {message["type"] for message in inbox()}
    assert {found.topic for found in relay.backlog()} == {"charge", "saga"}
    queue.delete()
    assert relay.relay() == 4
    first_seen = list({message["id"]: message for message in inbox()}.values())
    assert sequences(first_seen) == {row.subject: [1, 2, 3, 4] for row in rows}


@pytest.mark.rabbitmq
def test_a_refused_order_does_not_stop_the_others(
    engine_runner: Runner, inbox: Inbox, full_queue: Callable[[str], Queue]
) -> None:
    World.failures["charge before"] = [SoldOut("No soup left.")]
    refused = Started().start()
    engine_runner.run()
    full_queue("charge.failed")
    others = [Started().start() for _ in range(3)]
    engine_runner.run()
    with override_settings(SAGAS=settings.SAGAS | {"RELAY_BATCH_SIZE": 2}):
        relay.relay()
    finished = {message["correlation_id"] for message in inbox() if message["type"] == "saga.completed"}
    assert finished == {str(row.id) for row in others}
    assert {event.saga_id for event in SagaEvent.objects.exclude(type="").filter(published_at=None)} == {refused.id}


@pytest.mark.rabbitmq
def test_a_message_that_cannot_be_written_down_keeps_none_back(exchange: str, inbox: Inbox) -> None:
    """Its routing key is longer than the protocol allows."""
    body = {"id": "1", "payload": {"subject": "s"}, "subject_sequence": 1}
    keys = ["order.a", "saga." + "x" * 300, "user.d"]
    with Publisher(exchange) as publisher:
        failed = publisher.send([Message(number, key, key, body) for number, key in enumerate(keys)])
        assert set(failed) == {1}
        assert failed[1]
    assert {message["routing_key"] for message in inbox()} == {"order.a", "user.d"}


@pytest.mark.rabbitmq
def test_a_connection_that_breaks_is_opened_again(exchange: str, inbox: Inbox) -> None:
    body = {"id": "1", "payload": {"subject": "s"}, "subject_sequence": 1}
    with Publisher(exchange) as publisher:
        publisher._connection.transport.client.connection.transport.sock.close()
        assert publisher.send([Message(1, "s", "order.a", body)]) == {}
    assert len(inbox()) == 1


@pytest.mark.rabbitmq
def test_a_topic_that_is_never_confirmed_costs_one_wait_and_then_rests(
    engine_runner: Runner, inbox: Inbox, monkeypatch
) -> None:
    monkeypatch.setattr(publishing, "CONFIRM_SECONDS", 0.3)
    heard = Publisher._on_ack

    def deaf(self: Publisher, delivery_tag: int, multiple: bool) -> None:
        if not any(message.topic == "charge" for message in self._unsettled.values()):
            heard(self, delivery_tag, multiple)

    monkeypatch.setattr(Publisher, "_on_ack", deaf)
    Started().start()
    engine_runner.run()
    assert relay.relay() == 2
    assert set(relay._resting) == {"charge"}
    monkeypatch.setattr(Publisher, "_on_ack", heard)
    assert relay.relay() == 0
    relay._resting.clear()
    assert relay.relay() == 2


def test_a_publisher_without_a_broker_says_so(exchange: str, monkeypatch) -> None:
    monkeypatch.setattr(current_app.conf, "broker_write_url", NO_BROKER)
    with pytest.raises((OperationalError, OSError)), Publisher(exchange):
        pass


# -- what operators see ---------------------------------------------------------------------------------------------
def test_the_backlog_is_listed_by_topic(engine_runner: Runner, capsys) -> None:
    Started().start()
    engine_runner.run()
    assert {found.topic: found.events for found in relay.backlog()} == {"saga": 2, "tab": 1, "charge": 1}
    call_command("sagas", "backlog")
    words = capsys.readouterr().out.split()
    assert words[:3] == ["topic", "events", "oldest"]
    assert words[words.index("total") + 1] == "4"


def test_an_empty_backlog_is_reported_too(transactional_db: None, capsys) -> None:
    call_command("sagas", "backlog")
    exchange = options().event_exchange
    said = f"Every event is published to the exchange {exchange}; its queues decide who receives it.\n"
    assert exchange
    assert capsys.readouterr().out == said

    assert relay.oldest_unpublished_age() == timedelta()


@override_settings(SAGAS={})
def test_a_project_that_names_no_exchange_publishes_nothing(engine_runner: Runner, capsys) -> None:
    """No exchange is declared anywhere, and the command says so instead of "all is published"."""
    Started().start()
    engine_runner.run()
    assert relay.relay() == 0
    call_command("sagas", "backlog")
    waiting = sum(found.events for found in relay.backlog())
    assert waiting > 0
    assert capsys.readouterr().out == (
        "Publishing is off: settings.SAGAS names no EVENT_EXCHANGE. "
        f"{waiting} events are kept; they are published when it does.\n"
    )


def test_a_late_backlog_is_warned_of_once_a_minute(engine_runner: Runner, exchange: str, monkeypatch, caplog) -> None:
    Started().start()
    SagaEvent.objects.update(created_at=storage().now() - timedelta(minutes=5))
    monkeypatch.setattr(current_app.conf, "broker_write_url", NO_BROKER)
    with caplog.at_level(logging.WARNING, "sagas"):
        relay.relay()
        relay.relay()
    late = [record for record in caplog.records if getattr(record, "action", "") == "outbox_late"]
    assert len(late) == 1
    assert late[0].age_seconds >= 300
