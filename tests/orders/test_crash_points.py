"""A process crashes at each failpoint that an order passes. The order must end as without a crash.

Each action on an order runs once to find the failpoints it passes, and then once for each of them with a crash there.
Clients repeat requests without an answer. The broker loses the messages, or delivers them again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from orders.models import Order
from payments.findings import Drift
from payments.models import Payment
from payments.reconcile import reconcile
from sagas.failpoints import Failpoint, installed
from sagas.testing import Runner
from tests.orders.builders import assert_nothing_left, assert_stock_adds_up, live_authorizations
from tests.orders.campus import DECLINED, Campus, found, publish_all
from tests.tables import empty_tables
from timers.models import ScheduledEvent

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]


class Crash(BaseException):
    """kill -9."""


@dataclass
class Crashing(Campus):
    """The process crashes once, at the failpoint with this number. Counting begins with `is_armed`."""

    crashes_at: int | None = None
    is_redelivered: bool = False
    is_armed: bool = False
    passed: list[Failpoint] = field(default_factory=list)

    def reached(self, point: Failpoint) -> None:
        if self.is_armed:
            self.passed.append(point)
            if len(self.passed) - 1 == self.crashes_at:
                raise Crash(point)

    def insist(self, act: Callable[[], Any]) -> Any:
        while True:
            in_flight = [list(chain) for chain in self.runner.chains]
            try:
                return act()
            except Crash:
                self.runner.lose_messages()
                if self.is_redelivered:
                    self.runner.chains.extend(in_flight)


@dataclass(frozen=True)
class Action:
    """`before` makes the order that `run` needs. The process crashes in `run` only."""

    before: Callable[[Campus], Any]
    run: Callable[[Campus, Any], Order]
    status: str
    payment: str


ACTIONS = {
    "place": Action(lambda _: None, lambda campus, _: campus.placed(), "CREATED", "AUTHORIZED"),
    "decline": Action(lambda _: None, lambda campus, _: campus.placed(payment_method=DECLINED), "FAILED", "DECLINED"),
    "accept": Action(Campus.placed, Campus.accept, "ACCEPTED", "CAPTURED"),
    "complete": Action(Campus.accepted, Campus.complete, "COMPLETED", "CAPTURED"),
    "cancel": Action(Campus.placed, Campus.cancel, "CANCELLED", "VOIDED"),
    "expire": Action(Campus.placed, Campus.expire, "CANCELLED", "VOIDED"),
    "refund before delivery": Action(Campus.accepted, Campus.refund, "CANCELLED", "REFUNDED"),
    "refund after delivery": Action(Campus.completed, Campus.refund, "CANCELLED", "REFUNDED"),
}


def passed_by(name: str, crashes_at: int | None = None, *, is_redelivered: bool = False) -> list[Failpoint]:
    """Run one action, with a crash at this failpoint, and check the result. Returns the failpoints it passed."""
    empty_tables()
    with Runner() as runner:
        campus = Crashing.opened(runner)
        campus.crashes_at, campus.is_redelivered = crashes_at, is_redelivered
        action = ACTIONS[name]
        with installed(campus.reached):
            order = action.before(campus)
            campus.is_armed = True
            order = action.run(campus, order)
        check(order, action)
    return campus.passed


def check(order: Order, action: Action) -> None:
    assert Order.objects.count() == 1, "one request, one order"
    payment = Payment.objects.get(order_id=order.pk)
    assert (order.status, payment.status) == (action.status, action.payment)
    publish_all()
    assert found() == set()
    drifts = {finding.drift for finding in reconcile(grace=timedelta(0), heal=False)}
    assert drifts <= {Drift.LEFTOVER_INTENT}, "a declined intent holds no money; it is removed later"
    assert_stock_adds_up()
    assert live_authorizations(order.pk) == (action.status == "CREATED")
    if action.status in ("CANCELLED", "FAILED"):
        assert_nothing_left(order.pk)
    waits = ScheduledEvent.objects.live().filter(entity_id=str(order.pk)).count()
    assert waits == (action.status == "CREATED")


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("is_redelivered", [False, True], ids=["messages lost", "delivered again"])
def test_a_crash_at_any_boundary_changes_nothing(name: str, is_redelivered: bool, capsys) -> None:
    passed = passed_by(name)
    for number in range(len(passed)):
        passed_by(name, number, is_redelivered=is_redelivered)
    with capsys.disabled():
        print(f"\n{name}: {len(passed)} crash points right")  # noqa: T201 - the count is the result


def test_the_actions_pass_the_important_failpoints() -> None:
    passed = {point for name in ACTIONS for point in passed_by(name)}
    assert passed >= {
        Failpoint.START_COMMITTED, Failpoint.STEP_COMMITTED, Failpoint.CLAIM_COMMITTED, Failpoint.CALL_RETURNED,
        Failpoint.CALL_COMMITTED, Failpoint.CANCEL_COMMITTED,
    }  # fmt: skip
