"""No runner accepts an order: the sweep cancels it, exactly once with two beats and two workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from orders.models import Order
from orders.use_cases.place import NewLine
from payments.sandbox.models import SandboxIntent
from sagas.models import SagaEvent, SagaInstance
from tests.harness import customers, oracle
from tests.harness.customers import Customers, PlannedOrder
from tests.harness.fleet import Fleet, wait_for_children
from timers.models import ScheduledEvent

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(180)]

ORDERS = 6
WINDOW = timedelta(seconds=4)
#: One period of the sweep, and five seconds for the cancellation to begin (invariant I14).
LATEST = timedelta(seconds=1 + 5)
REASON = "Order timed out (30 minutes)"


def test_an_order_nobody_accepts_is_cancelled_once(fleet: Fleet) -> None:
    fleet.environment = {**fleet.environment, "CAMPUSG_ACCEPTANCE_WINDOW_SECONDS": str(int(WINDOW.total_seconds()))}
    workers = [fleet.start(role) for role in ("worker", "worker", "beat", "beat")][:2]
    for worker in workers:
        wait_for_children(worker, 2)
    orders = _place_and_wait_until_created(fleet)
    live = [_provider_status(order) for order in orders]
    _until(lambda: not Order.objects.exclude(status="CANCELLED").exists() and _is_quiet(), fleet)

    assert "requires_capture" in live, "the orders were authorized before they expired"
    assert oracle.judge() == []
    for order in orders:
        _assert_timed_out_once(order)


def _place_and_wait_until_created(fleet: Fleet) -> list[Order]:
    customers.stock_the_kitchen()
    burger = NewLine(sku="burger", name="Burger", price=Decimal("12.99"), quantity=1)
    clients = Customers()
    for number in range(ORDERS):
        clients.place(PlannedOrder(at=0, number=number, method=customers.VISA, lines=[burger]))
    _until(lambda: not Order.objects.filter(accept_by=None).exists(), fleet)
    return list(Order.objects.all())


def _provider_status(order: Order) -> str:
    return SandboxIntent.objects.get(metadata__order_id=str(order.pk)).status


def _is_quiet() -> bool:
    return not SagaEvent.objects.filter(published_at=None).exclude(type="").exists()


def _assert_timed_out_once(order: Order) -> None:
    order.refresh_from_db()
    saga = SagaInstance.objects.get(pk=order.saga_id)
    started = list(SagaEvent.objects.filter(saga_id=saga.pk, action="cancellation_started"))
    assert [event.message for event in started] == [REASON]
    assert (order.status, order.reason, order.reason_code) == ("CANCELLED", REASON, "order_timed_out")
    assert (saga.status, saga.reason) == ("CANCELLED", REASON)
    assert _provider_status(order) == "canceled"
    assert ScheduledEvent.objects.get(entity_id=str(order.pk)).status == "FIRED"
    assert timedelta(0) <= started[0].created_at - order.accept_by <= LATEST


def _until(is_so: Callable[[], bool], fleet: Fleet, *, seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        ended = fleet.restart_ended()
        assert time.monotonic() < deadline, f"not so after {seconds} s; {ended}\n{fleet.log_ends()}"
        time.sleep(0.1)
