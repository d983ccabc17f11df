"""A small saga for the engine's tests: local effects are rows, the remote side is a dictionary with keys."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypedDict

from django.contrib.auth.models import Group
from django.db import transaction

from sagas.definition.saga import Retry, Saga, best_effort, minutes, seconds
from sagas.engine import commands
from sagas.errors import Problem, Refusal
from sagas.machine.state import Row
from sagas.models import SagaInstance


@dataclass(frozen=True)
class ToyInput:
    order_id: str
    amount_cents: int


class Charge(TypedDict):
    charge_id: str


class Soup(TypedDict):
    bowls: int


class SoldOut(Refusal):
    code = "toy.sold_out"


class Crash(BaseException):
    """What a kill -9 does to a process: nothing after it runs."""


class Taken(Problem):
    code = "toy.taken"
    status = 409


@dataclass
class World:
    """What the toy steps act on, and the failures a test wants."""

    failures: ClassVar[dict[str, list[BaseException]]] = {}
    charges: ClassVar[dict[str, str]] = {}
    calls: ClassVar[list[str]] = []
    actors: ClassVar[list[str]] = []
    during: ClassVar[dict[str, Callable[[], None]]] = {}
    is_claimed: ClassVar[bool] = False

    @classmethod
    def reset(cls) -> None:
        cls.failures.clear()
        cls.charges.clear()
        cls.calls.clear()
        cls.actors.clear()
        cls.during.clear()
        cls.is_claimed = False

    @classmethod
    def meet(cls, name: str) -> None:
        """Raise the next failure a test wants at `name`, after running what it wants to happen there."""
        cls.calls.append(name)
        if hook := cls.during.get(name):
            hook()
        if queue := cls.failures.get(name):
            raise queue.pop(0)


def saga_of(row: Row) -> SagaInstance:
    """The saga as it is stored now."""
    return SagaInstance.objects.get(id=row.id)


def effect(order_id: str, name: str) -> None:
    Group.objects.create(name=f"{order_id} {name}")


def effects(order_id: str) -> list[str]:
    rows = Group.objects.filter(name__startswith=f"{order_id} ").order_by("id")
    return [row.name.removeprefix(f"{order_id} ") for row in rows]


def open_tab(*, order_id: str) -> None:
    effect(order_id, "open_tab")
    World.meet("open_tab")


def close_tab(*, order_id: str, reason: str) -> None:
    effect(order_id, "close_tab")
    World.meet("close_tab")


def look(*, order_id: str) -> None:
    World.meet("look")


def cook(*, order_id: str) -> Soup:
    effect(order_id, "cook")
    World.meet("cook")
    return {"bowls": 2}


def throw_away(*, order_id: str, actor: str) -> None:
    World.actors.append(actor)
    effect(order_id, "throw_away")
    World.meet("throw_away")


def charge(*, order_id: str, amount_cents: int, bowls: int, idempotency_key: str) -> Charge:
    assert not transaction.get_connection().in_atomic_block, "a call runs outside transactions"
    World.meet("charge before")
    World.charges.setdefault(idempotency_key, "live")
    World.meet("charge after")
    return {"charge_id": idempotency_key}


def give_back(*, order_id: str, saga_id: str, reason: str) -> None:
    assert not transaction.get_connection().in_atomic_block, "a call runs outside transactions"
    World.meet("give_back")
    World.charges[f"saga:{saga_id}:charge"] = "void"


def serve(*, order_id: str, charge_id: str) -> None:
    effect(order_id, "serve")
    World.meet("serve")


def ring_bell(*, order_id: str) -> None:
    effect(order_id, "ring_bell")
    World.meet("ring_bell")


def mute_bell(*, order_id: str) -> None:
    World.meet("mute_bell")


def claim(subject: str) -> None:
    if World.is_claimed:
        raise Taken("Somebody was faster.")


toy = (
    Saga(
        "toy",
        takes=ToyInput,
        deadline=minutes(5),
        on_cancel=claim,
        publishes=("order_id",),
    )
    .step(open_tab, compensate=close_tab, done="tab.opened")
    .read(look)
    .step(cook, compensate=throw_away)
    .call(
        charge,
        compensate=give_back,
        retry=Retry(first=seconds(1)),
        timeout=seconds(10),
        uses="bank",
        done="charge.made",
        failed="charge.failed",
    )
    .pivot(serve)
    .then(ring_bell, compensate=best_effort(mute_bell))
)

STEPS = ["open_tab", "look", "cook", "charge", "serve", "ring_bell"]
UNDOS = ["mute_bell", "give_back", "throw_away", "close_tab"]


@dataclass
class Started:
    order_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self, saga: Saga = toy) -> Row:
        given = ToyInput(self.order_id, 1299)
        with transaction.atomic():
            return commands.start(saga, input=given, key=f"toy:{self.order_id}", subject=self.order_id, owner="ann")
