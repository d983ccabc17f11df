"""Each way in which Celery and RabbitMQ can fail a step: in local steps and calls, and in their compensations.

Celery calls `link_error` once, twice, three times or never; that depends on how a step ends. Here every row ends in
exactly one completion, or exactly one compensation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from kombu import Connection, pools

from campusg.celery import app
from campusg.topology import COMMAND_QUEUES, DEAD_LETTERS_QUEUE, DELIVERY_LIMIT
from orders.models import Order
from orders.use_cases import cancel as cancelling
from orders.use_cases import place
from orders.use_cases.place import NewLine, NewOrder
from sagas.engine import commands, dispatch
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import OPEN
from tests.harness import customers, messages, oracle, step_faults
from tests.harness.fleet import Fleet, wait_for_children
from tests.servers import PrivateRabbitMQ

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(120)]

#: Hard time limit of a task. It ends a step that hangs.
TIME_LIMIT_SECONDS = "4"
STALL_SECONDS = "2"
SOFT_LIMIT_SECONDS = 2.0
STEPS_OF_EACH_KIND = ("reserve_inventory", "authorize_payment")
UNDOS_OF_EACH_KIND = ("release_inventory", "revert_payment")

IN_A_STEP = {
    "exception before the effect": ("raise", "before"),
    "exception after the effect": ("raise", "after"),
    "out of memory": ("run_out_of_memory", "before"),
    "child killed before the effect": ("kill_child", "before"),
    "child killed after the effect": ("kill_child", "after"),
    "child exits": ("exit", "after"),
    "whole worker killed before the effect": ("kill_worker", "before"),
    "whole worker killed after the effect": ("kill_worker", "after"),
    "hard time limit before the effect": ("hang", "before"),
    "hard time limit after the effect": ("hang", "after"),
}


@dataclass
class Cluster:
    """Two workers and two beats; orders are placed and cancelled one at a time."""

    fleet: Fleet

    @property
    def faults(self) -> Path:
        return Path(self.fleet.environment["CHAOS_STEP_FAULTS"])

    def order(self, **faults: tuple[str, str]) -> str:
        """Place an order with these faults, `(kind, moment)` by step. Returns its id."""
        burger = NewLine(sku="burger", name="Burger", price=Decimal("12.99"), quantity=1)
        request = place.prepare(NewOrder(customer_id="c", lines=[burger], payment_method=customers.VISA), owner="c")
        for step, (kind, moment) in faults.items():
            step_faults.add(self.faults, step, request.order_id, kind, moment=moment)
        return place.place(request).order_id

    def cancel(self, order_id: str) -> None:
        order = Order.objects.get(pk=order_id)
        cancelling.cancel(order, reason_code="customer_request", reason="", actor="c")

    def wait_for(self, wanted: dict[str, str], *, seconds: float = 60) -> None:
        """Wait until each order has its status, all sagas have ended, and all events are published."""
        self.wait_until(
            lambda: self._statuses(wanted) == wanted and self.is_quiet(), lambda: self._statuses(wanted), seconds
        )

    def wait_until(self, is_so: Callable[[], bool], what: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            self.fleet.restart_ended()
            assert time.monotonic() < deadline, f"{what()}\n{self.fleet.log_ends()}"
            time.sleep(0.05)

    def _statuses(self, wanted: dict[str, str]) -> dict[str, str]:
        return {str(pk): status for pk, status in Order.objects.filter(pk__in=wanted).values_list("pk", "status")}

    def is_quiet(self) -> bool:
        unsent = SagaEvent.objects.filter(published_at=None).exclude(type="")
        return not SagaInstance.objects.filter(status__in=OPEN).exists() and not unsent.exists()


@pytest.fixture(scope="module")
def cluster(shared_fleet: Fleet) -> Iterator[Cluster]:
    shared_fleet.environment = {
        **shared_fleet.environment,
        "CHAOS_TASK_TIME_LIMIT": TIME_LIMIT_SECONDS,
        "CHAOS_STALL_SECONDS": STALL_SECONDS,
        "CHAOS_RETRIES": "2",
        "CHAOS_UNDO_RETRIES": "2",
        "CAMPUSG_STEP_RETRIES": "2",
    }
    customers.stock_the_kitchen()
    for role in ("worker", "worker", "beat", "beat"):
        shared_fleet.start(role)
    for worker in shared_fleet.processes["worker"]:
        wait_for_children(worker, 2)
    with _time_limit_in_messages():
        yield Cluster(shared_fleet)


@contextmanager
def _time_limit_in_messages(*, soft: float | None = None) -> Iterator[None]:
    """A message carries the time limits of its publisher. A worker prefers them to its own."""
    with pytest.MonkeyPatch.context() as patch:
        for task in app.tasks.values():
            patch.setattr(task, "time_limit", float(TIME_LIMIT_SECONDS))
            patch.setattr(task, "soft_time_limit", soft)
        yield


@pytest.fixture(autouse=True)
def db(cluster: Cluster) -> Iterator[None]:
    """Replaces pytest-django's fixture: no transaction, because other processes must see the rows."""
    with override_settings(SAGAS=settings.SAGAS | {"STALL": timedelta(seconds=float(STALL_SECONDS))}):
        yield


def completions(order_id: str, step: str) -> int:
    saga = SagaInstance.objects.get(subject=order_id)
    done = SagaEvent.objects.filter(saga_id=saga.pk, step=step, action__in=("step_completed", "undo_completed"))
    return done.count()


@pytest.mark.parametrize("row", IN_A_STEP)
def test_a_fault_in_a_step(cluster: Cluster, row: str) -> None:
    """At the same time in a local step, in a call, and in the compensation of each."""
    forward = {step: cluster.order(**{step: IN_A_STEP[row]}) for step in STEPS_OF_EACH_KIND}
    back = {undo: cluster.order(**{undo: IN_A_STEP[row]}) for undo in UNDOS_OF_EACH_KIND}
    cluster.wait_for(dict.fromkeys([*forward.values(), *back.values()], "CREATED"))
    for order_id in back.values():
        cluster.cancel(order_id)
    cluster.wait_for(dict.fromkeys(forward.values(), "CREATED") | dict.fromkeys(back.values(), "CANCELLED"))

    for step, order_id in (forward | back).items():
        assert step_faults.has_happened(cluster.faults, step, order_id), f"{row} never happened in {step}"
        assert completions(order_id, step) == 1
    assert oracle.judge() == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_soft_time_limit_is_a_failed_try(cluster: Cluster, moment: str) -> None:
    """The limit is an exception inside the step, so the step itself reports that it failed."""
    # While the message waits for a free worker the sweep must not publish the step again, without the limit.
    no_sweep = override_settings(SAGAS=settings.SAGAS | {"STALL": timedelta(seconds=20)})
    with no_sweep, _time_limit_in_messages(soft=SOFT_LIMIT_SECONDS):
        forward = {step: cluster.order(**{step: ("hang", moment)}) for step in STEPS_OF_EACH_KIND}
        back = {undo: cluster.order(**{undo: ("hang", moment)}) for undo in UNDOS_OF_EACH_KIND}
        cluster.wait_for(dict.fromkeys([*forward.values(), *back.values()], "CREATED"))
        for order_id in back.values():
            cluster.cancel(order_id)
        cluster.wait_for(dict.fromkeys(forward.values(), "CREATED") | dict.fromkeys(back.values(), "CANCELLED"))
    for step, order_id in (forward | back).items():
        assert completions(order_id, step) == 1
        assert _tries_that_met_the_soft_limit(order_id, step) == 1
    assert oracle.judge() == []


def _tries_that_met_the_soft_limit(order_id: str, step: str) -> int:
    saga = SagaInstance.objects.get(subject=order_id)
    failed = SagaEvent.objects.filter(saga_id=saga.pk, step=step, action__in=("step_retrying", "undo_retrying"))
    return failed.filter(message__contains="SoftTimeLimitExceeded").count()


@pytest.mark.parametrize("step", STEPS_OF_EACH_KIND)
def test_an_exception_for_good_is_one_undo(cluster: Cluster, step: str) -> None:
    order_id = _with_lasting_fault(cluster, step)
    cluster.wait_for({order_id: "FAILED"})
    assert completions(order_id, "cancel_order") == 1
    assert completions(order_id, step) == 0
    assert oracle.judge() == []


def _with_lasting_fault(cluster: Cluster, step: str) -> str:
    burger = NewLine(sku="burger", name="Burger", price=Decimal("12.99"), quantity=1)
    request = place.prepare(NewOrder(customer_id="c", lines=[burger], payment_method=customers.VISA), owner="c")
    step_faults.add(cluster.faults, step, request.order_id, "raise", forever=True)
    return place.place(request).order_id


def test_an_undo_that_fails_for_good_waits_for_a_person(cluster: Cluster) -> None:
    order_id = _with_lasting_fault(cluster, "revert_payment")
    cluster.wait_for({order_id: "CREATED"})
    cluster.cancel(order_id)
    saga = SagaInstance.objects.get(subject=order_id)
    cluster.wait_until(lambda: SagaInstance.objects.get(pk=saga.pk).status == "NEEDS_ATTENTION", cluster.is_quiet)
    step_faults.remove(cluster.faults, "revert_payment", order_id)
    commands.retry(saga.pk, reason="The fault is repaired.", actor="operator")
    cluster.wait_for({order_id: "CANCELLED"})
    assert completions(order_id, "revert_payment") == 1
    assert oracle.judge() == []


@pytest.mark.parametrize("row", messages.FAULTS)
def test_a_fault_of_the_message(cluster: Cluster, row: str) -> None:
    """First for the message that starts the saga, then for the one that starts the compensation."""
    with publishing(messages.FAULTS[row]):
        order_id = cluster.order()
    cluster.wait_for({order_id: "CREATED"})
    with publishing(messages.FAULTS[row]):
        cluster.cancel(order_id)
    cluster.wait_for({order_id: "CANCELLED"})
    assert completions(order_id, "confirm_order") == completions(order_id, "cancel_order") == 1
    assert oracle.judge() == []
    if row not in messages.DELIVERED:
        assert redispatches(order_id) >= 2, "the message arrived, so this row shows nothing"


def redispatches(order_id: str) -> int:
    saga = SagaInstance.objects.get(subject=order_id)
    return SagaEvent.objects.filter(saga_id=saga.pk, action="redriven").count()


@contextmanager
def publishing(fault: Callable[[messages.Chain], None]) -> Iterator[None]:
    publisher = messages.FaultyOnce(fault)
    with dispatch.published_by(publisher):
        yield
    assert publisher.is_used


def test_connections_closed_in_the_middle_of_steps(cluster: Cluster, rabbitmq: PrivateRabbitMQ) -> None:
    forward = {step: cluster.order(**{step: ("be_slow", "after")}) for step in STEPS_OF_EACH_KIND}
    started = [lambda step=step, o=o: step_faults.has_happened(cluster.faults, step, o) for step, o in forward.items()]
    cluster.wait_until(lambda: all(is_so() for is_so in started), lambda: forward)
    rabbitmq.control("close_all_connections", "A fault of this test.")
    cluster.wait_for(dict.fromkeys(forward.values(), "CREATED"))
    assert all(completions(order_id, step) == 1 for step, order_id in forward.items())
    assert oracle.judge() == []
    # The connection of this process was closed too. If the next test noticed that, its publisher would pause.
    pools.reset()
    app._after_fork()


def test_queues_purged_while_nobody_listens(cluster: Cluster, rabbitmq: PrivateRabbitMQ) -> None:
    forward, back = cluster.order(), cluster.order()
    cluster.wait_for({forward: "CREATED", back: "CREATED"})
    for worker in list(cluster.fleet.processes["worker"]):
        cluster.fleet.stop("worker", worker)
    third = cluster.order()
    cluster.cancel(back)
    with Connection(rabbitmq.url) as connection, connection.channel() as channel:
        purged = sum(channel.queue_purge(name) for name in COMMAND_QUEUES)
    assert purged >= 2
    for _ in range(2):
        cluster.fleet.start("worker")
    cluster.wait_for({forward: "CREATED", third: "CREATED", back: "CANCELLED"})
    assert completions(third, "confirm_order") == completions(back, "cancel_order") == 1
    assert oracle.judge() == []


def test_queues_deleted_under_the_workers(cluster: Cluster, rabbitmq: PrivateRabbitMQ) -> None:
    """RabbitMQ cancels the consumers, so the workers connect again and declare the queues. The sweep dispatches."""
    with Connection(rabbitmq.url) as connection, connection.channel() as channel:
        for name in COMMAND_QUEUES:
            channel.queue_delete(name)
    order_id = cluster.order()
    cluster.wait_for({order_id: "CREATED"}, seconds=90)
    assert completions(order_id, "confirm_order") == 1
    assert oracle.judge() == []


def test_a_message_that_reaches_its_delivery_limit_is_a_dead_letter(
    cluster: Cluster, rabbitmq: PrivateRabbitMQ
) -> None:
    """It is fetched and requeued, as when workers die on it. It becomes a dead letter; the sweep redispatches."""
    back = cluster.order()
    cluster.wait_for({back: "CREATED"})
    for worker in list(cluster.fleet.processes["worker"]):
        cluster.fleet.stop("worker", worker)
    forward = cluster.order()
    cluster.cancel(back)
    with Connection(rabbitmq.url) as connection, connection.channel() as channel:
        channel.queue_purge(DEAD_LETTERS_QUEUE)
        for name in COMMAND_QUEUES:
            if name != "saga_sweeps":
                _use_up_deliveries(channel, name)
        letters = [_dead_letter(channel) for _ in range(2)]
    assert {letter.headers["x-death"][0]["reason"] for letter in letters} == {"delivery_limit"}
    assert {str(SagaInstance.objects.get(subject=order_id).pk) for order_id in (forward, back)} == {
        letter.headers["root_id"] for letter in letters
    }
    for _ in range(2):
        cluster.fleet.start("worker")
    cluster.wait_for({forward: "CREATED", back: "CANCELLED"})
    assert completions(forward, "confirm_order") == completions(back, "cancel_order") == 1
    assert oracle.judge() == []


def _use_up_deliveries(channel: Any, name: str) -> None:
    """Fetch and requeue until the queue is empty."""
    for _ in range(3 * DELIVERY_LIMIT):
        if (message := channel.basic_get(name)) is None:
            return
        channel.basic_reject(message.delivery_tag, requeue=True)
    raise AssertionError(f"{name} has no delivery limit")


def _dead_letter(channel: Any) -> Any:
    for _ in range(100):
        if message := channel.basic_get(DEAD_LETTERS_QUEUE, no_ack=True):
            return message
        time.sleep(0.1)
    raise AssertionError("no dead letter came")
