"""A runner takes an order, brings it, and everybody is paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from orders.models import Order
from orders.sagas import accept_order, complete_order
from orders.sagas.inputs import AcceptanceRequest, CompletionRequest
from sagas.definition.saga import Saga
from sagas.engine import commands
from sagas.ids import uuid7

# Who is paid for free lines, which no restaurant's menu knows; an operator settles that account by hand.
FREE_LINES_PAYEE = "free-lines"


@dataclass(frozen=True)
class Started:
    saga_id: str
    saga_status: str


def accept(order: Order, *, runner: str) -> Started:
    """The order is the runner's, if nobody was faster; capturing the money follows. Raises CannotAccept."""
    request = AcceptanceRequest(order_id=str(order.pk), payment_id=str(order.payment_id), runner=runner)
    return start(accept_order, request, order=order, owner=runner)


def complete(order: Order) -> Started:
    """The order is delivered; paying everybody follows. Raises CannotComplete."""
    request = CompletionRequest(
        order_id=str(order.pk), restaurant=order.restaurant or FREE_LINES_PAYEE, runner=order.runner
    )
    return start(complete_order, request, order=order, owner=order.runner)


@transaction.atomic
def start(saga: Saga, request: Any, *, order: Order, owner: str) -> Started:
    """Start a saga about an order; its first step settles in the same transaction who won the order."""
    key = f"{saga.name}:{order.pk}:{uuid7()}"
    row = commands.start(saga, input=request, key=key, subject=str(order.pk), owner=owner)
    return Started(str(row.id), str(row.status.value))
