"""Queues, routes and beat."""

from __future__ import annotations

import pytest
from django.conf import settings
from kombu import Connection, Exchange, Producer

from campusg import topology
from campusg.celery import app


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("orders.create_order", "order_commands"),
        ("orders.cancel_order", "order_commands"),
        ("orders.confirm_order", "order_commands"),
        ("orders.validate_inventory", "inventory_commands"),
        ("orders.reserve_inventory", "inventory_commands"),
        ("orders.release_inventory", "inventory_commands"),
        ("payments.get_payment_info", "user_commands"),
        ("payments.authorize_payment", "payment_commands"),
        ("payments.revert_payment", "payment_commands"),
        ("payments.hold_escrow", "escrow_commands"),
        ("payments.cancel_escrow", "escrow_commands"),
        ("timers.start_timer", "timer_commands"),
        ("timers.sweep", "saga_sweeps"),
        ("sagas.sweep", "saga_sweeps"),
        ("sagas.relay", "saga_sweeps"),
        ("sagas.on_error", "saga_commands"),
    ],
)
def test_a_command_goes_to_its_participants_queue(task: str, queue: str) -> None:
    assert app.amqp.router.route({}, task)["queue"].name == queue


@pytest.fixture(autouse=True)
def _all_tasks() -> None:
    app.loader.import_default_modules()


def test_every_registered_step_has_a_queue_that_is_consumed() -> None:
    ours = [name for name in app.tasks if name.split(".")[0] in {"orders", "payments", "timers", "sagas"}]
    assert ours
    queues = {app.amqp.router.route({}, name)["queue"].name for name in ours}
    assert queues <= set(topology.COMMAND_QUEUES)


def test_every_beat_entry_names_a_task_that_exists_and_expires() -> None:
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        assert entry["task"] in app.tasks
        assert 0 < entry["options"]["expires"] <= entry["schedule"]


def test_on_rabbitmq_queues_have_a_delivery_limit_and_dead_letters() -> None:
    for queue in topology.command_queues("amqp://localhost//"):
        assert queue.queue_arguments["x-queue-type"] == "quorum"
        assert queue.queue_arguments["x-delivery-limit"] == topology.DELIVERY_LIMIT
        assert queue.queue_arguments["x-dead-letter-exchange"] == topology.DEAD_LETTERS_EXCHANGE


def test_other_brokers_get_plain_queues() -> None:
    assert all(queue.queue_arguments is None for queue in topology.command_queues("memory://localhost/"))


@pytest.mark.rabbitmq
def test_declaring_twice_changes_nothing() -> None:
    with Connection(settings.BROKER_URL) as connection:
        assert topology.declare(connection) == topology.declare(connection)


@pytest.mark.rabbitmq
def test_an_event_reaches_the_queue_of_its_topic() -> None:
    with Connection(settings.BROKER_URL) as connection:
        topology.declare(connection)
        events = next(queue for queue in topology.event_queues() if queue.name == "timer_events")
        bound = events.bind(connection.default_channel)
        bound.purge()
        producer = Producer(connection, Exchange(topology.EVENTS_EXCHANGE, type="topic"))
        producer.publish({"type": "timer.started"}, routing_key="timer.started")
        connection.default_channel.connection.send_heartbeat()
        message = _wait_for(bound)
        assert message.payload == {"type": "timer.started"}


def _wait_for(queue):
    import time

    for _ in range(50):
        if message := queue.get(no_ack=True):
            return message
        time.sleep(0.1)
    pytest.fail("no message arrived")
