"""Replaces the use cases place and cancel, so that the product's web uses the plain chain."""

from __future__ import annotations

import dataclasses
import uuid
from functools import partial
from typing import Any

from django.db import transaction

from orders import services
from orders.models import Order
from orders.sagas.inputs import OrderRequest
from orders.use_cases import cancel as cancelling
from orders.use_cases import place as placing
from orders.use_cases.accept import Started
from orders.use_cases.place import Placed


def replace() -> None:
    placing.place = place
    cancelling.cancel = cancel


def place(request: OrderRequest) -> Placed:
    """Send the chain after the commit, as Celery's documentation advises."""
    from benchmarks.soak.plain import tasks

    saga_id = str(uuid.uuid4())
    transaction.on_commit(partial(tasks.begin, dataclasses.asdict(request) | {"saga_id": saga_id}))
    return Placed(request.order_id, saga_id, "STARTED")


@transaction.atomic
def cancel(order: Order, *, reason_code: str, reason: str, actor: str) -> Started:
    """Claim the order, so that no runner can accept it, and undo everything."""
    from benchmarks.soak.plain import tasks

    services.claim_for_cancellation(str(order.pk))
    services.record_cancelled_by(order_id=str(order.pk), actor=actor)
    data: dict[str, Any] = {
        "order_id": str(order.pk), "payment_id": str(order.payment_id), "saga_id": str(order.saga_id),
    }  # fmt: skip
    transaction.on_commit(partial(tasks.compensate.delay, data))
    return Started(str(order.saga_id), "CANCELLING")
