"""A subscriber to every event: a durable queue of its own, read when all is over."""

from __future__ import annotations

from kombu import Connection, Exchange, Queue

from campusg.topology import EVENTS_EXCHANGE
from tests.harness.oracle import Received

QUEUE = Queue("everything", Exchange(EVENTS_EXCHANGE, type="topic"), routing_key="#", durable=True)


def subscribe(broker_url: str) -> None:
    with Connection(broker_url) as connection, connection.channel() as channel:
        QUEUE.bind(channel).declare()


def received(broker_url: str) -> list[Received]:
    """What has arrived, in the order of arrival; empties the queue."""
    events = []
    with Connection(broker_url) as connection, connection.channel() as channel:
        queue = QUEUE.bind(channel)
        while message := queue.get(no_ack=True):
            body = message.payload
            events.append(Received(body["id"], body["correlation_id"], body["sequence"]))
    return events
