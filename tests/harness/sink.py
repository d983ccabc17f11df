"""A durable queue that receives every event. It is read at the end of a test."""

from __future__ import annotations

from kombu import Connection, Exchange, Queue

from campusg.topology import EVENTS_EXCHANGE
from tests.harness.oracle import Received

QUEUE = Queue("everything", Exchange(EVENTS_EXCHANGE, type="topic"), routing_key="#", durable=True)


def subscribe(broker_url: str) -> None:
    with Connection(broker_url) as connection, connection.channel() as channel:
        QUEUE.bind(channel).declare()


def received(broker_url: str) -> list[Received]:
    """The events that arrived, in order of arrival. Empties the queue."""
    events = []
    with Connection(broker_url) as connection, connection.channel() as channel:
        queue = QUEUE.bind(channel)
        while message := queue.get(no_ack=True):
            body = message.payload
            events.append(Received(body["id"], body["correlation_id"], body["sequence"]))
    return events
