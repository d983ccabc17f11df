"""A runner accepts an order and delivers it; then everybody is paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

import sagas
from orders.models import Order
from orders.sagas import accept_order, complete_order
from orders.sagas.inputs import AcceptanceRequest, CompletionRequest
from sagas import Saga, uuid7

# The account that is paid for free lines, which belong to no restaurant. An operator pays it out by hand.
FREE_LINES_PAYEE = "free-lines"


@dataclass(frozen=True)
class Started:
    """A saga and its status after its first step."""

    saga_id: str
    saga_status: str


def accept(order: Order, *, runner: str) -> Started:
    """Start accept_order. The first runner wins; the others get CannotAccept."""
    request = AcceptanceRequest(order_id=str(order.pk), payment_id=str(order.payment_id), runner=runner)
    return start(accept_order, request, order=order, owner=runner)


def complete(order: Order) -> Started:
    """Start complete_order for the order's own runner. Raises CannotComplete."""
    request = CompletionRequest(
        order_id=str(order.pk), restaurant=order.restaurant or FREE_LINES_PAYEE, runner=order.runner
    )
    return start(complete_order, request, order=order, owner=order.runner)


@transaction.atomic
def start(saga: Saga, request: Any, *, order: Order, owner: str) -> Started:
    """Start a saga about an order. Its first step runs in the same transaction, and its refusal is raised here."""
    key = f"{saga.name}:{order.pk}:{uuid7()}"
    row = sagas.start(saga, input=request, key=key, subject=str(order.pk), owner=owner)
    return Started(str(row.id), str(row.status.value))
