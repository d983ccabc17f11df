"""Every change of an order's status, found by letting the sagas' own functions make it on a row in the database.

For each saga and each status an order may have, the steps run in order. After each of them the saga fails, and is
cancelled: then its compensations run in reverse. It is also cancelled after it has completed. Nothing of this is kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.utils import timezone

from orders import services
from orders.models import Order, OrderStatus
from orders.sagas import accept_order, complete_order, create_order, refund_order
from sagas import Refusal, Saga
from sagas.definition.saga import StepFunction, parameter_types

SAGAS = (create_order, accept_order, complete_order, refund_order)
#: The status of an order that does not exist yet.
NONE = ""
ORDER_ID = uuid.UUID(int=1)
#: What the steps of orders are given, by name.
GIVEN = {
    "order_id": str(ORDER_ID), "saga_id": str(uuid.UUID(int=2)), "payment_id": str(uuid.UUID(int=3)),
    "owner": "ann", "customer_id": "ann", "lines": [], "delivery_location": "", "details": {}, "food_cents": 100,
    "delivery_fee_cents": 0, "total_cents": 100, "currency": "USD", "restaurant": "", "runner": "rob",
    "reason": "A reason", "reason_code": "other", "actor": "",
}  # fmt: skip


class Change(NamedTuple):
    """`how` is empty while the saga goes forward, else why it goes back."""

    before: str
    after: str
    saga: str
    function: str
    how: str = ""


def changes() -> list[Change]:
    """In the order of the sagas and their steps, each once."""
    statuses = (NONE, *OrderStatus.values)
    found = [change for saga in SAGAS for status in statuses for change in _of(saga, status)]
    found += [change for saga in SAGAS for status in statuses[1:] for change in _cancelled_later(saga, status)]
    return list(dict.fromkeys(found))


def _of(saga: Saga, status: str) -> Iterator[Change]:
    """What one saga makes of an order that has this status when it starts; nothing if its first step refuses."""
    for step in saga.steps:
        after = _status_after(step.function, status)
        if after is None:
            return
        if after != status:
            yield Change(status, after, saga.name, step.name)
        status = after
        pivot = saga.pivot_position
        if pivot is None or step.position < pivot:
            yield from _back(saga, step.position, status, "fails")
        yield from _cancelled(saga, step.position, status)


def _cancelled(saga: Saga, position: int, status: str) -> Iterator[Change]:
    if saga.on_cancel is None:
        return
    claimed = _status_after(saga.on_cancel, status)
    if claimed is not None:
        yield Change(status, claimed, saga.name, saga.on_cancel.__name__, "cancelled")
        yield from _back(saga, position, claimed, "cancelled")


def _cancelled_later(saga: Saga, status: str) -> Iterator[Change]:
    """A saga that has completed may be cancelled too, and other sagas may have changed its order since."""
    return _cancelled(saga, saga.steps[-1].position, status)


def _back(saga: Saga, position: int, status: str, how: str) -> Iterator[Change]:
    for step in saga.steps[position::-1]:
        if step.compensation is None:
            continue
        after = _status_after(step.compensation.function, status)
        assert after is not None, f"{step.compensation.name} refuses an order that is {status}"
        if after != status:
            yield Change(status, after, saga.name, step.compensation.name, how)
        status = after


class _Seen(Exception):
    """Ends the transaction of a look."""


def _status_after(function: StepFunction, status: str) -> str | None:
    """The status a function leaves an order in, or None if it refuses. Only `orders.services` changes orders."""
    if function.__module__ != services.__name__:
        return status
    found: list[str | None] = []
    try:
        with transaction.atomic():
            found.append(_run(function, status))
            raise _Seen
    except _Seen:
        return found[0]


def _run(function: StepFunction, status: str) -> str | None:
    if status != NONE:
        _order(status).save(force_insert=True)
    names = parameter_types(function)
    try:
        if list(names) == ["subject"]:
            function(str(ORDER_ID))
        else:
            function(**{name: GIVEN[name] for name in names})
    except (Refusal, IntegrityError):  # there is such an order already
        return None
    return str(Order.objects.get(pk=ORDER_ID).status)


def _order(status: str) -> Order:
    """An order for which nothing but its status can be a reason to refuse."""
    now = timezone.now()
    return Order(
        id=ORDER_ID, owner="ann", customer_id="ann", status=status, currency="USD", food_total=1, delivery_fee=0,
        total_amount=1, saga_id=uuid.UUID(int=2), payment_id=uuid.UUID(int=3), runner="rob", accepted_at=now,
        accept_by=now + timedelta(hours=1),
    )  # fmt: skip


def arrows(found: Iterable[Change]) -> set[tuple[str, str]]:
    return {(change.before, change.after) for change in found}
