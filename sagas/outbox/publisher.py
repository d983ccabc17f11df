"""Publishing to a topic exchange with confirms that are waited for together, one bad message keeping none back.

Kombu's own `confirm_publish` waits after each message, and what a queue never confirms would hold up every message
behind it. Here many go out, then the broker's word on all of them comes in. A transport without confirms, such as the
in-process broker, has a message as soon as it is given one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from celery import current_app
from kombu import Connection, Exchange, Producer
from kombu.exceptions import OperationalError

#: How long the broker may take to confirm what it was given.
CONFIRM_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Message:
    """An event ready to go. `line` is what it must not be overtaken in: the order it is about."""

    event_id: int
    line: str
    key: str
    body: dict[str, Any]
    aliases: tuple[str, ...] = ()

    @property
    def topic(self) -> str:
        return self.key.partition(".")[0]


def describe(error: BaseException) -> str:
    """An error in words; a timeout of a socket, for one, has none of its own."""
    return str(error) or repr(error)


class Publisher:
    """A connection of its own for one run: nothing it meets is left to the next one.

    `send` answers which messages did not get through. A message that makes the broker close the channel, or leave it
    without an answer, takes the others' confirms with it, so those are then sent again, alone. Copies are legal.
    """

    def __init__(self, exchange: str) -> None:
        self.exchange = Exchange(exchange, type="topic", durable=True)
        #: Topics of which a message was refused with the channel, or not confirmed in time, and how.
        self.broken: dict[str, str] = {}
        #: Why nothing is published any more.
        self.error = ""
        self.has_confirmed = False
        self._failed: dict[int, str] = {}
        self._confirmed: set[int] = set()
        self._unsettled: dict[int, Message] = {}
        self._connection: Connection
        self._producer: Producer
        self._tag = 0

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        """Publish the messages. Returns `{event id: reason}` for those the broker did not confirm. Never raises."""
        self._failed, self._confirmed = {}, set()
        for message in messages if self.error else self._send_together(messages):
            self._send_alone(message)
        self.has_confirmed |= bool(self._confirmed)
        return self._failed

    def _send_together(self, messages: Sequence[Message]) -> list[Message]:
        """Returns the messages that may or may not have arrived, because the channel or the connection broke."""
        try:
            for message in messages:
                self._publish(message)
            self._await_confirms()
        except self._breaks as error:
            self._reopen(error)
        return [m for m in messages if m.event_id not in self._confirmed and m.event_id not in self._failed]

    def _send_alone(self, message: Message) -> None:
        if why := self.error or self.broken.get(message.topic):
            self._failed[message.event_id] = why
            return
        try:
            self._publish(message)
            self._await_confirms()
        except self._breaks as error:
            self._failed[message.event_id] = self.broken[message.topic] = describe(error)
            self._reopen(error)

    @property
    def _breaks(self) -> tuple[type[BaseException], ...]:
        return (TimeoutError, *self._connection.connection_errors, *self._connection.channel_errors)

    def _publish(self, message: Message) -> None:
        try:
            self._hand_over(message)
        except self._breaks:
            raise
        except Exception as error:  # noqa: BLE001 - it cannot be encoded; nothing of it was sent
            self._failed[message.event_id] = describe(error)

    def _hand_over(self, message: Message) -> None:
        self._producer.publish(
            message.body, exchange=self.exchange, declare=[self.exchange], routing_key=message.key,
            message_id=message.body["id"], serializer="json", delivery_mode=2,
            headers={"CC": list(message.aliases)} if message.aliases else {},
        )  # fmt: skip
        if self._has_confirms:
            self._tag += 1
            self._unsettled[self._tag] = message
        else:
            self._confirmed.add(message.event_id)

    # -- confirms -----------------------------------------------------------------------------------------------
    def _await_confirms(self) -> None:
        """Raises TimeoutError if some do not come: a broken queue can block the channel for all later messages."""
        deadline = time.monotonic() + CONFIRM_SECONDS
        while self._unsettled:
            try:
                self._connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))
            except TimeoutError:
                raise TimeoutError(f"not confirmed within {CONFIRM_SECONDS:.0f} s") from None

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._confirmed |= {message.event_id for message in self._settled(delivery_tag, multiple)}

    def _on_nack(self, delivery_tag: int, multiple: bool) -> None:
        self._failed |= {message.event_id: "refused by a queue" for message in self._settled(delivery_tag, multiple)}

    def _settled(self, delivery_tag: int, multiple: bool) -> list[Message]:
        tags = [tag for tag in self._unsettled if tag <= delivery_tag] if multiple else [delivery_tag]
        return [self._unsettled.pop(tag) for tag in tags if tag in self._unsettled]

    # -- the connection -------------------------------------------------------------------------------------------
    def _open(self) -> None:
        """Raises OperationalError or OSError if there is no broker."""
        self._connection = current_app.connection_for_write(transport_options={"confirm_publish": False})
        self._connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        channel: Any = self._connection.channel()
        self._unsettled, self._tag = {}, 0
        self._has_confirms = hasattr(channel, "confirm_select")
        self._session = channel.connection
        if self._has_confirms:
            channel.events["basic_ack"].add(self._on_ack)
            channel.events["basic_nack"].add(self._on_nack)
            channel.confirm_select()
        self._producer = Producer(channel)

    def _reopen(self, broken: BaseException) -> None:
        """Hang up without a word, as a blocked channel would not answer, and dial again."""
        if self._has_confirms:
            self._session.collect()
        self._close()
        try:
            self._open()
        except (OperationalError, OSError) as error:
            self.error = f"{describe(broken)}, then {describe(error)}"

    def _close(self) -> None:
        self._connection.release()
