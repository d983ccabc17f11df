"""A process may die at every boundary of an order's life: each one is tried, and the order ends as if it had not.

Whatever people or the clock do is done once to learn which failpoints it passes, and then again for each of them with a
crash there; people repeat what was not answered, the broker forgets or delivers again.
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
class Doomed(Campus):
    """A campus whose process dies once, at the failpoint of the given number, counted from when it is armed."""

    dies_at: int | None = None
    is_redelivered: bool = False
    is_armed: bool = False
    passed: list[Failpoint] = field(default_factory=list)

    def reached(self, point: Failpoint) -> None:
        if self.is_armed:
            self.passed.append(point)
            if len(self.passed) - 1 == self.dies_at:
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
class Act:
    """`before` brings an order to where `act` begins; the process dies within `act` only."""

    before: Callable[[Campus], Any]
    act: Callable[[Campus, Any], Order]
    status: str
    payment: str


ACTS = {
    "place": Act(lambda _: None, lambda campus, _: campus.placed(), "CREATED", "AUTHORIZED"),
    "decline": Act(lambda _: None, lambda campus, _: campus.placed(payment_method=DECLINED), "FAILED", "DECLINED"),
    "accept": Act(Campus.placed, Campus.accept, "ACCEPTED", "CAPTURED"),
    "complete": Act(Campus.accepted, Campus.complete, "COMPLETED", "CAPTURED"),
    "cancel": Act(Campus.placed, Campus.cancel, "CANCELLED", "VOIDED"),
    "expire": Act(Campus.placed, Campus.expire, "CANCELLED", "VOIDED"),
    "take back on the way": Act(Campus.accepted, Campus.refund, "CANCELLED", "REFUNDED"),
    "take back when delivered": Act(Campus.completed, Campus.refund, "CANCELLED", "REFUNDED"),
}


def lived(name: str, dies_at: int | None = None, *, is_redelivered: bool = False) -> list[Failpoint]:
    """One order's act with a crash at that failpoint, judged; answers the failpoints that were passed."""
    empty_tables()
    with Runner() as runner:
        campus = Doomed.opened(runner)
        campus.dies_at, campus.is_redelivered = dies_at, is_redelivered
        act = ACTS[name]
        with installed(campus.reached):
            order = act.before(campus)
            campus.is_armed = True
            order = act.act(campus, order)
        judge(order, act)
    return campus.passed


def judge(order: Order, act: Act) -> None:
    assert Order.objects.count() == 1, "one request, one order"
    payment = Payment.objects.get(order_id=order.pk)
    assert (order.status, payment.status) == (act.status, act.payment)
    publish_all()
    assert found() == set()
    drifts = {finding.drift for finding in reconcile(grace=timedelta(0), heal=False)}
    assert drifts <= {Drift.LEFTOVER_INTENT}, "a declined intent holds no money; it is tidied later"
    assert_stock_adds_up()
    assert live_authorizations(order.pk) == (act.status == "CREATED")
    if act.status in ("CANCELLED", "FAILED"):
        assert_nothing_left(order.pk)
    waits = ScheduledEvent.objects.live().filter(entity_id=str(order.pk)).count()
    assert waits == (act.status == "CREATED")


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("is_redelivered", [False, True], ids=["messages lost", "delivered again"])
def test_a_crash_at_any_boundary_changes_nothing(name: str, is_redelivered: bool, capsys) -> None:
    passed = lived(name)
    for number in range(len(passed)):
        lived(name, number, is_redelivered=is_redelivered)
    with capsys.disabled():
        print(f"\n{name}: {len(passed)} crash points right")  # noqa: T201 - the count is the result


def test_the_acts_pass_what_matters() -> None:
    passed = {point for name in ACTS for point in lived(name)}
    assert passed >= {
        Failpoint.START_COMMITTED, Failpoint.STEP_COMMITTED, Failpoint.CLAIM_COMMITTED, Failpoint.CALL_RETURNED,
        Failpoint.CALL_COMMITTED, Failpoint.CANCEL_COMMITTED,
    }  # fmt: skip
