"""A broker that keeps no promise: messages are lost, doubled, kept back and handed out in any order."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from sagas.engine.dispatch import Link, StepMessage


@dataclass
class Message:
    """A chain whose first link is due. `redelivered` is set when the broker hands it out again."""

    chain: list[Link]
    redelivered: bool = False

    @property
    def step(self) -> StepMessage:
        return self.chain[0][1]


@dataclass
class Request:
    """What a Celery task sees of its message: the rest of the chain is kept reversed, the next link last."""

    chain: list[dict[str, Any]]
    delivery_info: dict[str, Any]


@dataclass
class Task:
    """Stands for the Celery task instance; everything else in `sagas.tasks` is the real code."""

    request: Request

    @classmethod
    def of(cls, message: Message) -> Task:
        rest = [
            {"args": [str(step.saga_id), step.position, step.epoch], "task": name} for name, step in message.chain[1:]
        ]
        return cls(Request(rest[::-1], {"redelivered": message.redelivered}))

    @property
    def rest(self) -> list[Link]:
        links = reversed(self.request.chain)
        return [(link["task"], StepMessage(uuid.UUID(link["args"][0]), *link["args"][1:])) for link in links]


@dataclass
class Broker:
    chance: random.Random
    loses: float = 0.0
    doubles: float = 0.0
    messages: list[Message] = field(default_factory=list)
    errbacks: list[tuple[uuid.UUID, int]] = field(default_factory=list)

    def publish(self, chain: list[Link]) -> None:
        for _ in range(self._copies()):
            self.messages.append(Message(list(chain)))

    def link_error(self, saga_id: uuid.UUID, epoch: int) -> None:
        self.errbacks += [(saga_id, epoch)] * self._copies()

    def hand_out(self, message: Message) -> None:
        self.messages.append(message)

    def take(self) -> Message:
        return self.messages.pop(self.chance.randrange(len(self.messages)))

    def take_errback(self) -> tuple[uuid.UUID, int]:
        return self.errbacks.pop(self.chance.randrange(len(self.errbacks)))

    def purge(self) -> None:
        self.messages.clear()
        self.errbacks.clear()

    def _copies(self) -> int:
        if self.chance.random() < self.loses:
            return 0
        return 2 if self.chance.random() < self.doubles else 1
