"""Finds queues that are there but dead, and makes them anew.

A RabbitMQ that is killed just after it declared a quorum queue can bring that queue back "running" and without a
leader: it takes every message and confirms none, for ever. Only a message tells, so each queue that nobody uses gets
one with a confirm, and it is taken back at once. A queue that says nothing for as long as its messages are worth
waiting for is deleted and declared again. Commands are hints and come again from the sweep; events that were not
confirmed are in the database.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from amqp.exceptions import ResourceLocked
from kombu import Connection, Producer, Queue

logger = logging.getLogger(__name__)

#: Declared by the one connection that may probe; the broker refuses it to all others.
LOCK_QUEUE = "campusg.probing"
LOCK_SECONDS = 90.0
#: How long a queue may take to confirm: one of hints, and one of what is nowhere else on the broker.
HINT_PATIENCE_SECONDS = 5.0
FACT_PATIENCE_SECONDS = 30.0
LISTEN_SECONDS = 0.05
#: A probe that nobody took back goes away by itself.
PROBE_TTL_SECONDS = 60
#: The broker needs half a minute to give a dead queue up.
TRANSPORT_OPTIONS = {"confirm_publish": False, "read_timeout": 60, "write_timeout": 5}


def replace(connection: Connection, queues: Sequence[Queue], is_hints: Callable[[str], bool]) -> list[str]:
    """Replace the dead ones among these queues; answers their names. One process at a time, whoever starts them."""
    with connection.clone(transport_options=TRANSPORT_OPTIONS) as own:
        if not _is_alone(own):
            return []
        unused = [queue for queue in queues if _is_unused(own, queue)]
        dead = _dead(own, unused, is_hints)
        for queue in dead:
            logger.error("Queue %s confirms nothing and is made anew", queue.name, extra={"action": "queue_replaced"})
        _make_anew(own, dead)
        return [queue.name for queue in dead]


def _is_alone(connection: Connection) -> bool:
    """Wait for our turn. False if it does not come, and then somebody else sees to the queues."""
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            channel: Any = connection.channel()
            channel.queue_declare(LOCK_QUEUE, durable=False, exclusive=True)
        except ResourceLocked:
            time.sleep(0.2)
        else:
            return True
    return False


def _is_unused(connection: Connection, queue: Queue) -> bool:
    """Nothing in it and nobody at it. A dead queue looks like that too."""
    channel: Any = connection.default_channel
    found = channel.queue_declare(queue.name, passive=True)
    return bool(found.message_count == 0 and found.consumer_count == 0)


def _dead(connection: Connection, queues: Sequence[Queue], is_hints: Callable[[str], bool]) -> list[Queue]:
    """Each queue is probed on a connection of its own: a dead one blocks its channel and may break the connection."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        probes = [Probe(queue, stack.enter_context(connection.clone())) for queue in queues]
        while any(probe.is_silent and time.monotonic() < began + _patience(probe, is_hints) for probe in probes):
            for probe in probes:
                probe.listen()
        for probe in probes:
            if not probe.is_silent:
                probe.take_back()
        dead = [probe for probe in probes if probe.is_silent]
        for probe in dead:
            probe.hang_up()
        return [probe.queue for probe in dead]


def _patience(probe: Probe, is_hints: Callable[[str], bool]) -> float:
    return HINT_PATIENCE_SECONDS if is_hints(probe.queue.name) else FACT_PATIENCE_SECONDS


class Probe:
    """One message to one queue, and the wait for its confirm."""

    def __init__(self, queue: Queue, connection: Connection) -> None:
        self.queue, self.connection = queue, connection
        self.is_silent, self.is_broken = True, False
        self.id = str(uuid.uuid4())
        channel: Any = connection.channel()
        self.channel, self.session = channel, channel.connection
        channel.events["basic_ack"].add(self._on_ack)
        channel.confirm_select()
        Producer(channel).publish(
            {}, exchange="", routing_key=queue.name, message_id=self.id, type="campusg.probe",
            expiration=PROBE_TTL_SECONDS,
        )  # fmt: skip

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        self.is_silent = False

    def listen(self) -> None:
        if not self.is_silent or self.is_broken:
            time.sleep(LISTEN_SECONDS / 10)
            return
        try:
            self.connection.drain_events(timeout=LISTEN_SECONDS)
        except TimeoutError:
            return
        except (*self.connection.connection_errors, *self.connection.channel_errors):
            self.is_broken = True

    def hang_up(self) -> None:
        """Without a word: a blocked channel would not answer."""
        self.session.collect()

    def take_back(self) -> None:
        message = self.channel.basic_get(self.queue.name)
        if message is not None and message.properties.get("message_id") == self.id:
            self.channel.basic_ack(message.delivery_tag)
        elif message is not None:
            self.channel.basic_reject(message.delivery_tag, requeue=True)


def _make_anew(connection: Connection, queues: Sequence[Queue]) -> None:
    """All at once, each on a connection of its own: the broker takes its time with each, and may break off."""
    with contextlib.ExitStack() as stack:
        own = {queue.name: stack.enter_context(connection.clone()) for queue in queues}
        for name, deleting in own.items():
            channel: Any = deleting.default_channel
            channel.queue_delete(name, nowait=True)
        for queue in queues:
            with contextlib.suppress(*connection.connection_errors, *connection.channel_errors):
                queue.bind(own[queue.name].default_channel).declare()
        for queue in queues:
            queue.bind(connection.default_channel).declare()
