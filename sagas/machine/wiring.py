"""Which arguments a step function gets: by name, from the saga's input, earlier results and what the engine offers."""

from __future__ import annotations

from functools import cache
from typing import Any

from sagas.definition.saga import Saga, StepFunction, parameter_types
from sagas.machine.state import Row


@cache
def parameter_names(function: StepFunction) -> tuple[str, ...]:
    return tuple(parameter_types(function))


def idempotency_key(row: Row, name: str) -> str:
    """Stable over retries: derived from the saga and the step, never random."""
    return f"saga:{row.id}:{name}"


def arguments(row: Row, saga: Saga, function: StepFunction) -> dict[str, Any]:
    """The keyword arguments for `function` at the saga's position.

    `manage.py check` has proved that all exist which have no default.
    """
    known = _known(row, saga, function)
    return {name: known[name] for name in parameter_names(function) if name in known}


def _known(row: Row, saga: Saga, function: StepFunction) -> dict[str, Any]:
    known: dict[str, Any] = {
        "saga_id": str(row.id),
        "idempotency_key": idempotency_key(row, function.__name__),
        "attempt": max(row.attempt, 1),
        "timeout": saga.steps[row.position].timeout.total_seconds(),
        "reason": row.reason,
        "reason_code": row.reason_code,
        "actor": row.actor,
    }
    known |= row.input
    for step in saga.steps[: row.position]:
        known |= row.results.get(step.name, {})
    return known
