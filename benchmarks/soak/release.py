"""The second release: create_order has a second version with one more step.

The first version stays registered for sagas that were started with it. Processes of the first release do not know the
second version.
"""

from __future__ import annotations

import dataclasses

from orders.models import Order
from orders.use_cases import place
from sagas import tasks
from sagas.definition import registry
from sagas.definition.saga import Saga

NOTE = "Packed without plastic"


def note_packaging(*, order_id: str) -> None:
    """The new step: write to the order how it is packed."""
    Order.objects.filter(pk=order_id).update(delivery_location=NOTE)


def drop_packaging_note(*, order_id: str) -> None:
    Order.objects.filter(pk=order_id).update(delivery_location="")


def roll_out() -> None:
    """Register the second version in this process, and start new orders with it."""
    second = second_version(registry.get("create_order", 1))
    registry.register(second)
    tasks.register_step_tasks()
    place.create_order = second


def second_version(first: Saga) -> Saga:
    """The same steps, and the new one after the food is reserved."""
    second: Saga = dataclasses.replace(first, version=2)
    for step in first.steps:
        second.steps.append(dataclasses.replace(step, position=len(second.steps)))
        if step.name == "reserve_inventory":
            second.step(note_packaging, compensate=drop_packaging_note)
    return second
