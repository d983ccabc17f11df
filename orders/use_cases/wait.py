"""Waiting for a saga to end, for clients that would rather wait than poll."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

from orders.errors import OrderError
from sagas.errors import Problem
from sagas.models import OPEN, SagaInstance, Status
from sagas.rest.problems import status_of

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.25


class OrderNotPlaced(OrderError):
    """The saga ended without an order; speaks with the code, status and advice of the refusal that stopped it."""

    code = "order.not_placed"
    status = 409
    title = "The order could not be placed"
    advice = "Correct what the detail says and order again."


def wait_for_end(saga_id: uuid.UUID, *, seconds: float) -> SagaInstance:
    """The saga once nothing goes on by itself any more, or as it is after `seconds`."""
    give_up_at = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        saga = SagaInstance.objects.get(pk=saga_id)
        left = give_up_at - time.monotonic()
        if saga.status not in OPEN or left <= 0:
            return saga
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def problem_of(saga: SagaInstance, *, order_id: str) -> Problem | None:
    """Why the saga brought no order; None if it did, or if it has not ended."""
    if saga.status in OPEN or saga.status in (Status.COMPLETED, Status.NEEDS_ATTENTION):
        return None
    problem = OrderNotPlaced(
        saga.reason or saga.error, saga_id=str(saga.pk), order_id=order_id, saga_status=saga.status
    )
    known = next((kind for kind in _kinds(Problem) if kind.code == saga.reason_code), None)
    if saga.reason_code:
        problem.code = saga.reason_code  # type: ignore[misc]
    if known is not None:
        problem.status = status_of(known)
        problem.title, problem.advice = known.title, known.advice  # type: ignore[misc]
    return problem


def _kinds(base: type[Problem]) -> Iterator[type[Problem]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)
