"""What exists on the broker: queues for commands, an exchange for events, a place for dead letters.

On RabbitMQ the command queues are quorum queues with a delivery limit and a dead-letter exchange, so a message
that kills every worker it meets ends in `dead_letters` and not in a loop. The arguments of a queue that exists can
not change (RabbitMQ answers 406), so a change here needs a new queue name. Other brokers get plain queues.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery import bootsteps
from kombu import Connection, Exchange, Queue

from campusg import queue_repair

logger = logging.getLogger(__name__)

COMMAND_QUEUES = (
    "order_commands",
    "inventory_commands",
    "user_commands",
    "payment_commands",
    "escrow_commands",
    "timer_commands",
    "saga_commands",
    "saga_sweeps",
)
DEFAULT_QUEUE = "saga_commands"
EVENT_TOPICS = ("order", "user", "payment", "timer", "inventory", "escrow", "saga")
COMMANDS_EXCHANGE = "campusg.commands"
EVENTS_EXCHANGE = "campusg.events"
DEAD_LETTERS_EXCHANGE = "campusg.dlx"
DEAD_LETTERS_QUEUE = "dead_letters"

#: After so many deliveries without an answer a message is poison.
DELIVERY_LIMIT = 20
#: An event queue nobody reads keeps this much and no more; the truth is in the database.
EVENT_QUEUE_MAX_LENGTH = 100_000
EVENT_TTL = timedelta(days=7)
DEAD_LETTER_TTL = timedelta(days=30)

#: Ordered: the first pattern that fits a task's name decides; names without a star are looked at first.
TASK_ROUTES: tuple[tuple[str, dict[str, str]], ...] = (
    ("orders.validate_inventory", {"queue": "inventory_commands"}),
    ("orders.reserve_inventory", {"queue": "inventory_commands"}),
    ("orders.release_inventory", {"queue": "inventory_commands"}),
    ("orders.consume_inventory", {"queue": "inventory_commands"}),
    ("orders.sweep", {"queue": "saga_sweeps"}),
    ("orders.*", {"queue": "order_commands"}),
    ("payments.reconcile", {"queue": "saga_sweeps"}),
    ("payments.get_payment_info", {"queue": "user_commands"}),
    ("payments.*escrow*", {"queue": "escrow_commands"}),
    ("payments.*", {"queue": "payment_commands"}),
    ("timers.sweep", {"queue": "saga_sweeps"}),
    ("timers.*", {"queue": "timer_commands"}),
    ("sagas.sweep", {"queue": "saga_sweeps"}),
    ("sagas.relay", {"queue": "saga_sweeps"}),
    ("sagas.*", {"queue": "saga_commands"}),
)


def is_rabbitmq(broker_url: str) -> bool:
    return broker_url.startswith(("amqp://", "amqps://", "pyamqp://"))


def command_queues(broker_url: str) -> list[Queue]:
    """The queues a worker consumes, with the exchange the producers publish to.

    RabbitMQ's delayed delivery needs a topic exchange; elsewhere a direct one is enough and faster.
    """
    is_real = is_rabbitmq(broker_url)
    exchange = Exchange(COMMANDS_EXCHANGE, type="topic" if is_real else "direct")
    return [
        Queue(name, exchange, routing_key=name, queue_arguments=_command_arguments(name) if is_real else None)
        for name in COMMAND_QUEUES
    ]


def _command_arguments(name: str) -> Mapping[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD_LETTERS_EXCHANGE,
        "x-dead-letter-routing-key": f"dead.{name}",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def dead_letters_queue() -> Queue:
    exchange = Exchange(DEAD_LETTERS_EXCHANGE, type="topic")
    arguments = {"x-queue-type": "quorum", "x-message-ttl": _milliseconds(DEAD_LETTER_TTL)}
    return Queue(DEAD_LETTERS_QUEUE, exchange, routing_key="dead.#", queue_arguments=arguments)


def event_queues() -> list[Queue]:
    """One queue a topic: `order_events` gets `order.#`, and so on."""
    exchange = Exchange(EVENTS_EXCHANGE, type="topic")
    arguments = {
        "x-queue-type": "quorum",
        "x-max-length": EVENT_QUEUE_MAX_LENGTH,
        "x-overflow": "drop-head",
        "x-message-ttl": _milliseconds(EVENT_TTL),
    }
    return [
        Queue(f"{topic}_events", exchange, routing_key=f"{topic}.#", queue_arguments=arguments)
        for topic in EVENT_TOPICS
    ]


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def all_queues(broker_url: str) -> list[Queue]:
    return [dead_letters_queue(), *event_queues(), *command_queues(broker_url)]


def declare(connection: Connection) -> list[str]:
    """Declare everything on RabbitMQ, however often; returns the names of the queues."""
    queues = all_queues(connection.as_uri(include_password=True))
    with connection.channel() as channel:
        for queue in queues:
            queue.bind(channel).declare()
    return [queue.name for queue in queues]


def replace_dead_queues(connection: Connection) -> list[str]:
    """Make queues anew that are there and never confirm; returns their names."""
    queues = all_queues(connection.as_uri(include_password=True))
    return queue_repair.replace(connection, queues, is_step_queue=COMMAND_QUEUES.__contains__)


class DeclareTopology(bootsteps.StartStopStep):
    """A worker declares the topology whenever it (re)connects, so a broker that forgot everything heals."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, parent: Any) -> None:
        connection: Connection = parent.connection
        if is_rabbitmq(connection.as_uri(include_password=True)):
            with connection.clone() as own:
                declare(own)
                self._replace_dead_queues(own)

    def _replace_dead_queues(self, connection: Connection) -> None:
        try:
            replace_dead_queues(connection)
        except (*connection.connection_errors, *connection.channel_errors) as error:
            logger.warning("Queues not probed: %r", error, extra={"action": "queues_not_probed"})
