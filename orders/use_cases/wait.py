"""Waiting for a saga to end, for clients that prefer waiting to polling."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import sagas
from orders.errors import OrderError
from sagas import Problem, SagaState, Status
from sagas.rest.problems import status_of

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.25


class OrderNotPlaced(OrderError):
    """The saga ended without an order. Takes the code, status, title and advice of the refusal that stopped it."""

    code = "order.not_placed"
    status = 409
    title = "The order could not be placed"
    advice = "Correct what the detail says and order again."


def wait_for_end(saga_id: uuid.UUID, *, seconds: float) -> SagaState:
    """Return the saga when it has ended or needs attention, or as it is after `seconds`."""
    give_up_at = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        saga = sagas.find(saga_id)
        left = give_up_at - time.monotonic()
        if not saga.is_open or left <= 0:
            return saga
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def problem_of(saga: SagaState, *, order_id: str) -> Problem | None:
    """Why the saga ended without an order. None if there is an order, or if the saga has not ended."""
    if saga.is_unsettled or saga.status is Status.COMPLETED:
        return None
    problem = OrderNotPlaced(
        saga.reason or saga.error, saga_id=str(saga.id), order_id=order_id, saga_status=saga.status.value
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
