"""Orders that stand where a race begins."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

from django.utils import timezone

from orders.models import Order
from orders.use_cases import cancel as cancelling
from orders.use_cases import place
from orders.use_cases.place import NewLine, NewOrder
from sagas.engine import execution
from sagas.engine.dispatch import StepMessage
from sagas.engine.execution import Stale
from sagas.machine.state import Row
from sagas.models import SagaEvent, SagaInstance
from sagas.testing import Runner
from tests.harness import customers, oracle


@dataclass(frozen=True)
class Scene:
    """One order and its create-order saga."""

    order_id: str

    @property
    def order(self) -> Order:
        return Order.objects.get(pk=self.order_id)

    @property
    def saga(self) -> SagaInstance:
        return SagaInstance.objects.get(subject=self.order_id, name="create_order")

    @property
    def message(self) -> StepMessage:
        saga = self.saga
        return StepMessage(saga.pk, saga.position, saga.epoch)

    def count(self, action: str, step: str = "") -> int:
        return SagaEvent.objects.filter(saga_id=self.saga.pk, action=action, step=step).count()

    def cancel(self) -> str:
        return cancelling.cancel(self.order, reason_code="customer_request", reason="", actor="customer")


def at_position(runner: Runner, position: int, *, sku: str = "burger", quantity: int = 1) -> Scene:
    """An order whose saga stands before the step at `position`, while no worker runs it."""
    price = {"burger": customers.BURGER, "special": customers.SPECIAL}[sku][2]
    line = NewLine(sku=sku, name="Food", price=Decimal(price), quantity=quantity)
    request = place.prepare(NewOrder(customer_id="c", lines=[line], payment_method=customers.VISA), owner="c")
    scene = Scene(place.place(request).order_id)
    while scene.saga.position < position:
        assert runner.deliver()
    runner.lose_messages()
    return scene


def created(runner: Runner) -> Scene:
    scene = at_position(runner, 8)
    assert scene.order.status == "CREATED"
    return scene


def process(message: StepMessage) -> Row | None:
    """What a worker does with a message; None if there was nothing to do."""
    try:
        return execution.process_message(message, may_run=lambda _: False)
    except Stale:
        return None


def settle(runner: Runner) -> list[oracle.Breach]:
    """Run everything to its end. Returns what the oracle finds wrong."""
    runner.run_to_end()
    SagaEvent.objects.filter(published_at=None).update(published_at=timezone.now())
    return oracle.judge()


def new_id() -> str:
    return str(uuid.uuid4())
