"""Finds queues that exist but confirm nothing, and declares them again.

A RabbitMQ that is killed just after it declared a quorum queue can start again with that queue "running" but without a
leader: it accepts every message and confirms none, for ever. Only a message shows this, so each unused queue gets one
with a publisher confirm, and the message is read back at once. A queue that does not confirm in time is deleted and
declared again. Nothing is lost: the sweep sends step messages again, and events that were not confirmed are in the
database.
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
#: How long a queue may take to confirm: a queue of step messages, and a queue of anything else.
STEP_CONFIRM_SECONDS = 5.0
OTHER_CONFIRM_SECONDS = 30.0
LISTEN_SECONDS = 0.05
#: A probe that was not read back expires.
PROBE_TTL_SECONDS = 60
#: The broker needs half a minute to delete a queue without a leader.
TRANSPORT_OPTIONS = {"confirm_publish": False, "read_timeout": 60, "write_timeout": 5}


def replace(connection: Connection, queues: Sequence[Queue], is_step_queue: Callable[[str], bool]) -> list[str]:
    """Replace those of these queues that confirm nothing. Returns their names. One process at a time does it."""
    with connection.clone(transport_options=TRANSPORT_OPTIONS) as own:
        if not _is_alone(own):
            return []
        unused = [queue for queue in queues if _is_unused(own, queue)]
        broken = _unconfirming(own, unused, is_step_queue)
        for queue in broken:
            logger.error(
                "Queue %s confirms nothing; it is deleted and declared again",
                queue.name,
                extra={"action": "queue_replaced"},
            )
        _declare_again(own, broken)
        return [queue.name for queue in broken]


def _is_alone(connection: Connection) -> bool:
    """Wait until no other process repairs queues. Returns False if another one still does after `LOCK_SECONDS`."""
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
    """Whether it has no message and no consumer. A queue without a leader looks like that too."""
    channel: Any = connection.default_channel
    found = channel.queue_declare(queue.name, passive=True)
    return bool(found.message_count == 0 and found.consumer_count == 0)


def _unconfirming(connection: Connection, queues: Sequence[Queue], is_step_queue: Callable[[str], bool]) -> list[Queue]:
    """Each queue is probed on a connection of its own: a broken one blocks its channel and may close the connection."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        probes = [Probe(queue, stack.enter_context(connection.clone())) for queue in queues]
        while any(
            probe.is_silent and time.monotonic() < began + _confirm_seconds(probe, is_step_queue) for probe in probes
        ):
            for probe in probes:
                probe.listen()
        for probe in probes:
            if not probe.is_silent:
                probe.read_back()
        silent = [probe for probe in probes if probe.is_silent]
        for probe in silent:
            probe.close()
        return [probe.queue for probe in silent]


def _confirm_seconds(probe: Probe, is_step_queue: Callable[[str], bool]) -> float:
    return STEP_CONFIRM_SECONDS if is_step_queue(probe.queue.name) else OTHER_CONFIRM_SECONDS


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

    def close(self) -> None:
        """Close the socket at once: a blocked channel would not answer an orderly close."""
        self.session.collect()

    def read_back(self) -> None:
        message = self.channel.basic_get(self.queue.name)
        if message is not None and message.properties.get("message_id") == self.id:
            self.channel.basic_ack(message.delivery_tag)
        elif message is not None:
            self.channel.basic_reject(message.delivery_tag, requeue=True)


def _declare_again(connection: Connection, queues: Sequence[Queue]) -> None:
    """All at the same time, each on its own connection: deleting takes long and may close the connection."""
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
