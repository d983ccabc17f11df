"""Queues that never confirm a message, and queues that may not be written. The broker belongs to these tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import override_settings
from kombu import Connection, Producer

from campusg import queue_repair, topology
from sagas.outbox import publisher as publishing
from sagas.outbox import relay
from sagas.outbox.publisher import Message, Publisher
from sagas.testing import Runner
from tests.chaos.conftest import publishing_to
from tests.harness import customers, sink
from tests.races.scenes import at_position
from tests.servers import PrivateRabbitMQ

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(180)]

LAST_STEP = 8


@pytest.fixture
def broker(rabbitmq: PrivateRabbitMQ, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateRabbitMQ]:
    monkeypatch.setattr(relay, "_resting", {})
    with publishing_to(rabbitmq):
        with Connection(rabbitmq.url) as connection:
            topology.declare(connection)
        yield rabbitmq


def break_queues(broker: PrivateRabbitMQ, *queues: str) -> None:
    """Leave the queues running, with leaders that do not answer any more."""
    for queue in queues:
        broker.control("eval", f"sys:suspend(whereis('%2F_{queue}')).")


def count(broker: PrivateRabbitMQ, queue: str) -> int:
    with Connection(broker.url) as connection, connection.channel() as channel:
        return int(channel.queue_declare(queue, passive=True).message_count)


# -- broken queues --------------------------------------------------------------------------------------------------
def test_a_queue_that_never_confirms_is_replaced(broker: PrivateRabbitMQ) -> None:
    break_queues(broker, "timer_commands", "escrow_commands")
    with Connection(broker.url) as connection:
        assert topology.replace_dead_queues(connection) == ["escrow_commands", "timer_commands"]
        assert topology.replace_dead_queues(connection) == []


def test_two_workers_that_start_at_once_replace_a_broken_queue_once(broker: PrivateRabbitMQ) -> None:
    break_queues(broker, "user_commands")
    replaced: list[str] = []

    def start() -> None:
        with Connection(broker.url) as connection:
            replaced.extend(topology.replace_dead_queues(connection))

    workers = [threading.Thread(target=start) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert replaced == ["user_commands"]


def test_a_healthy_queue_keeps_its_messages_and_no_probe_stays(broker: PrivateRabbitMQ) -> None:
    with Connection(broker.url) as connection:
        Producer(connection).publish({"kept": True}, routing_key="order_commands")
        assert topology.replace_dead_queues(connection) == []
        names = [queue.name for queue in topology.all_queues(broker.url)]
    assert {name: count(broker, name) for name in names if count(broker, name)} == {"order_commands": 1}


def test_a_queue_of_events_is_given_more_time(broker: PrivateRabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is slow to come back and not broken. Its messages are nowhere else on the broker."""
    monkeypatch.setattr(queue_repair, "STEP_CONFIRM_SECONDS", 0.5)
    break_queues(broker, "timer_events")
    awake = threading.Timer(2, lambda: broker.control("eval", "sys:resume(whereis('%2F_timer_events'))."))
    awake.start()
    with Connection(broker.url) as connection:
        assert topology.replace_dead_queues(connection) == []
    awake.join()


# -- the relay ------------------------------------------------------------------------------------------------------
def test_a_topic_that_never_confirms_does_not_stop_the_others(
    broker: PrivateRabbitMQ, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer events are the last of each order: all others are published first, and these when the queue is back."""
    monkeypatch.setattr(publishing, "CONFIRM_SECONDS", 1.0)
    sink.subscribe(broker.url)
    customers.stock_the_kitchen()
    with override_settings(SAGAS=settings.SAGAS | {"RELAY_BATCH_SIZE": 5}), Runner(run_inline=False) as runner:
        for _ in range(3):
            at_position(runner, LAST_STEP - 1)
            runner.run_to_end()
        break_queues(broker, "timer_events")
        relay.relay()
        assert {found.topic: found.events for found in relay.backlog()} == {"timer": 3, "saga": 3}
        broker.control("eval", "sys:resume(whereis('%2F_timer_events')).")
        relay._resting.clear()
        relay.relay()
    assert relay.backlog() == []


def test_a_topic_the_relay_may_not_write_breaks_the_channel_and_stops_nobody(broker: PrivateRabbitMQ) -> None:
    body = {"id": "1"}
    messages = [Message(number, str(number), key, body) for number, key in enumerate(["order.a", "timer.b", "user.c"])]
    broker.control("set_topic_permissions", "guest", topology.EVENTS_EXCHANGE, "^(order|user)", ".*")
    try:
        with Publisher(topology.EVENTS_EXCHANGE) as publisher:
            failed = publisher.send(messages)
            assert set(failed) == {1}
            assert "ACCESS_REFUSED" in failed[1]
            assert publisher.send(messages[:1]) == {}
    finally:
        broker.control("clear_topic_permissions", "guest", topology.EVENTS_EXCHANGE)
    assert count(broker, "order_events") >= 1
    assert count(broker, "user_events") >= 1
