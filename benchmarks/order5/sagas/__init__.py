"""The work as a saga."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.order5 import steps
from sagas.definition.registry import register
from sagas.definition.saga import Saga


@dataclass(frozen=True)
class Order5:
    order_id: str
    is_refused: bool


order5 = (
    Saga("order5", takes=Order5)
    .step(steps.first, compensate=steps.undo_first)
    .step(steps.second, compensate=steps.undo_second)
    .step(steps.third, compensate=steps.undo_third)
    .step(steps.fourth, compensate=steps.undo_fourth)
    .pivot(steps.fifth)
)
register(order5)
