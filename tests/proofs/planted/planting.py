"""How a defect gets into the product: through the seams that the product offers, never by changing its source.

A fact that the table of transitions applies wrongly, a decision taken wrongly, another definition, another storage, a
change of rows without its condition, another payment provider.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from payments.gateways import current_gateway, use_gateway
from payments.gateways.base import PaymentGateway
from sagas.definition.saga import Saga
from sagas.machine.decisions import Machine
from sagas.machine.state import Event, Row
from sagas.machine.transitions import TRANSITIONS, Transition
from sagas.statuses import Action
from sagas.storage import Storage, use
from sagas.storage.memory import MemoryStorage

#: From a seam as it is to the same with the defect.
Wrong = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclasses.dataclass(frozen=True)
class Planting:
    """`seam` says for people where the defect is."""

    seam: str
    planted: Callable[[], AbstractContextManager[Any]]


def transition(*actions: Action, wrong: Callable[[Transition], Transition]) -> Planting:
    """What the facts make of a row."""
    entries = {action: wrong(TRANSITIONS[action]) for action in actions}
    names = ", ".join(f"`{action.name}`" for action in actions)
    return Planting(f"another entry for {names} in `TRANSITIONS`", lambda: mock.patch.dict(TRANSITIONS, entries))


def afterwards(change: Callable[[Row, Saga], None]) -> Callable[[Transition], Transition]:
    """The right transition, and then a change that spoils it."""

    def wrong(right: Transition) -> Transition:
        def apply(row: Row, saga: Saga, event: Event) -> None:
            right(row, saga, event)
            change(row, saga)

        return apply

    return wrong


def decision(name: str, wrong: Wrong) -> Planting:
    """A method of the machine that decides."""
    return method(Machine, name, wrong)


def method(owner: type, name: str, wrong: Wrong) -> Planting:
    replaced = wrong(getattr(owner, name))
    return Planting(f"another `{owner.__name__}.{name}`", lambda: mock.patch.object(owner, name, replaced))


def definition(saga: Saga, seam: str, **changes: Any) -> Planting:
    """The same saga, defined otherwise."""

    @contextmanager
    def planted() -> Iterator[None]:
        before = {name: getattr(saga, name) for name in changes}
        for name, value in changes.items():
            setattr(saga, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(saga, name, value)

    return Planting(f"`{saga.name}` {seam}", planted)


_memory: type[MemoryStorage] = MemoryStorage


def memory() -> type[MemoryStorage]:
    """Where the model and the simulator keep their sagas."""
    return _memory


def model_on(kind: type[MemoryStorage], seam: str) -> Planting:
    """Let the model and the simulator run on another storage."""

    @contextmanager
    def planted() -> Iterator[None]:
        global _memory  # noqa: PLW0603 - one defect at a time
        _memory = kind
        try:
            yield
        finally:
            _memory = MemoryStorage

    return Planting(seam, planted)


def database(kind: type[Storage], seam: str) -> Planting:
    """Keep sagas in the database in another way."""
    return Planting(seam, lambda: use(kind()))


def provider(kind: Callable[[PaymentGateway], Any], seam: str) -> Planting:
    return Planting(seam, lambda: use_gateway(kind(current_gateway())))
