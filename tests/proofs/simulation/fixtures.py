"""The sagas that are simulated: local effects are kept in memory, the remote side remembers every key and tombstone.

Three definitions of the same steps, so that every kind of line meets every kind of fault: a local and a remote
pivot, with and without a compensation, a remote first step, calls before and after the pivot, best efforts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypedDict

from sagas.definition.saga import Retry, Saga, best_effort, minutes, seconds
from sagas.errors import Problem, Refusal


@dataclass(frozen=True)
class Trip:
    order_id: str
    payment_id: str


class Charge(TypedDict):
    charge_id: str


class Soup(TypedDict):
    bowls: int


class SoldOut(Refusal):
    code = "simulation.sold_out"


class Reverted(Refusal):
    code = "simulation.reverted"


class Taken(Problem):
    code = "simulation.taken"
    status = 409


class FaultHooks(Protocol):
    """The simulation the steps run in."""

    def write(self, order_id: str, name: str) -> None:
        """A local effect, taken back if its transaction is rolled back."""

    def effects(self, order_id: str) -> list[str]:
        """The local effects so far, in order."""

    def local(self, order_id: str, name: str) -> None:
        """A local step was reached, its effect is written; it may be interrupted."""

    def apply(self, order_id: str, name: str, thing: str, key: str) -> None:
        """A call that makes `thing` live at the provider under an idempotency key."""

    def revoke(self, order_id: str, name: str, thing: str) -> None:
        """A call that takes `thing` back and puts up a tombstone for whatever may still arrive."""


_hooks: FaultHooks | None = None


def set_hooks(hooks: FaultHooks | None) -> FaultHooks | None:
    global _hooks
    before, _hooks = _hooks, hooks
    return before


def hooks() -> FaultHooks:
    assert _hooks is not None, "no simulation runs"
    return _hooks


# -- effects --------------------------------------------------------------------------------------------------------
def write_effect(order_id: str, name: str) -> None:
    hooks().write(order_id, name)


def effects(order_id: str) -> list[str]:
    return hooks().effects(order_id)


def _local(order_id: str, name: str) -> None:
    write_effect(order_id, name)
    hooks().local(order_id, name)


def _call(order_id: str, name: str, thing: str, key: str) -> None:
    hooks().apply(order_id, name, thing, key)


def _undo_call(order_id: str, name: str, thing: str) -> None:
    hooks().revoke(order_id, name, thing)


# -- steps ----------------------------------------------------------------------------------------------------------
def open_tab(*, order_id: str) -> None:
    _local(order_id, "open_tab")


def close_tab(*, order_id: str, reason: str) -> None:
    _local(order_id, "close_tab")


def look(*, order_id: str) -> None:
    hooks().local(order_id, "look")


def cook(*, order_id: str) -> Soup:
    _local(order_id, "cook")
    return {"bowls": 2}


def throw_away(*, order_id: str) -> None:
    _local(order_id, "throw_away")


def charge(*, order_id: str, payment_id: str, idempotency_key: str) -> Charge:
    _call(order_id, "charge", "charge", idempotency_key)
    return {"charge_id": idempotency_key}


def give_back(*, order_id: str, payment_id: str) -> None:
    _undo_call(order_id, "give_back", "charge")


def book(*, order_id: str, idempotency_key: str) -> None:
    _call(order_id, "book", "table", idempotency_key)


def unbook(*, order_id: str, reason: str) -> None:
    _undo_call(order_id, "unbook", "table")


def settle(*, order_id: str, charge_id: str, idempotency_key: str) -> None:
    _call(order_id, "settle", "settlement", idempotency_key)


def serve(*, order_id: str, charge_id: str) -> None:
    _local(order_id, "serve")


def ring_bell(*, order_id: str) -> None:
    _local(order_id, "ring_bell")


def mute_bell(*, order_id: str) -> None:
    _local(order_id, "mute_bell")


def tell(*, order_id: str, idempotency_key: str) -> None:
    _call(order_id, "tell", "message", idempotency_key)


def untell(*, order_id: str) -> None:
    _undo_call(order_id, "untell", "message")


def claim(subject: str) -> None:
    """Who cancels must win the order from who accepts it."""
    if "accept" in effects(subject):
        raise Taken("Somebody was faster.")
    write_effect(subject, "claim")


# -- definitions ----------------------------------------------------------------------------------------------------
#: What calls depend on, and what may be put on hold; some calls name nothing.
BANK, TABLES = DEPENDENCIES = ("bank", "tables")
GATEWAY = Retry(first=seconds(1))
#: What a call makes live at the provider, and so what its compensation must take back.
THINGS = {"charge": "charge", "book": "table", "settle": "settlement", "tell": "message"}

lunch = (
    Saga("lunch", takes=Trip, deadline=minutes(5), on_cancel=claim)
    .step(open_tab, compensate=close_tab)
    .read(look)
    .step(cook, compensate=throw_away)
    .call(charge, compensate=give_back, retry=GATEWAY, timeout=seconds(10), uses=BANK)
    .pivot(serve)
    .then(ring_bell, compensate=best_effort(mute_bell))
)
dinner = (
    Saga("dinner", takes=Trip, deadline=minutes(3), on_cancel=claim)
    .call(charge, compensate=give_back, retry=GATEWAY, timeout=seconds(10), uses=BANK)
    .step(open_tab, compensate=close_tab)
    .call(book, compensate=unbook, timeout=seconds(5), uses=TABLES)
    .pivot(settle, remote=True, retry=GATEWAY, timeout=seconds(10), uses=BANK)
    .then(ring_bell, compensate=best_effort(mute_bell))
    .then(tell, remote=True, compensate=untell, timeout=seconds(5))
)
banquet = (
    Saga("banquet", takes=Trip, deadline=minutes(2), on_cancel=claim)
    .step(open_tab, compensate=close_tab)
    .call(charge, compensate=give_back, retry=GATEWAY, timeout=seconds(10), uses=BANK)
    .step(cook, compensate=throw_away)
    .pivot(book, remote=True, compensate=unbook, retry=GATEWAY, timeout=seconds(10))
    .then(tell, remote=True, compensate=best_effort(untell), timeout=seconds(5), uses=TABLES)
    .then(ring_bell, compensate=mute_bell)
)
DEFINITIONS = (lunch, dinner, banquet)
