"""A subscriber to every event. It connects without the proxy and receives what any other subscriber would."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from amqp.exceptions import AMQPError, NotFound
from kombu import Connection, Consumer, Message
from kombu.exceptions import OperationalError

from campusg.topology import EVENT_TOPICS
from tests.harness import sink
from tests.harness.oracle import Breach, Received

PREFETCH = 500
#: The product's own event queues are emptied this often, because nothing reads them in a run.
EMPTY_SECONDS = 15.0
#: When nothing arrived for this long, everything has arrived.
SILENCE_SECONDS = 3.0


class Subscriber:
    """Reads and acknowledges one durable queue that gets every event. After a crash an event may come twice."""

    def __init__(self, broker_url: str) -> None:
        self.broker_url = broker_url
        self.received: list[Received] = []
        self.incomplete: list[Breach] = []
        self._last_at = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)

    def begin(self) -> None:
        sink.subscribe(self.broker_url)
        self._thread.start()

    def end(self) -> None:
        """Wait until no event arrives any more, and stop."""
        while time.monotonic() - self._last_at < SILENCE_SECONDS:
            time.sleep(0.2)
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._read()
            except (OperationalError, AMQPError, OSError):
                self._over.wait(1)  # the broker crashed

    def _read(self) -> None:
        with Connection(self.broker_url, connect_timeout=2) as connection, connection.channel() as channel:
            consumer = Consumer(channel, [sink.QUEUE], on_message=self._take, prefetch_count=PREFETCH)
            empty_at = time.monotonic()
            with consumer:
                while not self._over.is_set():
                    with contextlib.suppress(TimeoutError):
                        connection.drain_events(timeout=1)
                    if time.monotonic() > empty_at:
                        _empty(connection)
                        empty_at = time.monotonic() + EMPTY_SECONDS

    def _take(self, message: Message) -> None:
        body: dict[str, Any] = message.payload
        self.received.append(Received(body["id"], body["correlation_id"], body["sequence"]))
        if "order_id" not in body["payload"]:
            self.incomplete.append(Breach("event without its order", body["correlation_id"], body["type"]))
        self._last_at = time.monotonic()
        message.ack()


def _empty(connection: Connection) -> None:
    with contextlib.suppress(NotFound), connection.channel() as channel:  # no worker has declared this queue yet
        for topic in EVENT_TOPICS:
            channel.queue_purge(f"{topic}_events")
