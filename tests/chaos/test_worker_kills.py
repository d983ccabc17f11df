"""Workers are killed with -9 every few seconds while orders are placed. No order is lost, and no step done twice."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field

import pytest

from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import OPEN
from tests.harness import customers, oracle, sink
from tests.harness.customers import Customers, PlannedOrder
from tests.harness.fleet import Fleet, wait_for_children

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(300)]

ORDERS = int(os.environ.get("CHAOS_ORDERS", "300"))
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
#: Orders come at this rate for at least this long.
ORDERS_PER_SECOND = 12.0
SHORTEST_SECONDS = 20.0
QUIET_WITHIN_SECONDS = 120


def test_kills_lose_nothing_and_double_nothing(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(SEED)
    run = Run(fleet, chance)
    sink.subscribe(fleet.environment["BROKER_URL"])
    customers.stock_the_kitchen()
    run.start()
    run.act()
    run.wait_until_quiet()
    seen = oracle.snapshot()
    breaches = oracle.judge(seen) + oracle.events_arrived(seen, sink.received(fleet.environment["BROKER_URL"]))
    breaches += run.unexpected_outcomes(seen)
    with capsys.disabled():
        print(run.table(seen, breaches))  # noqa: T201
    assert not breaches, f"seed {SEED}\n" + "\n".join(map(str, breaches[:40])) + "\n" + fleet.log_ends()
    assert run.results["placed"] + sum(bool(order.refusal) for order in run.orders) == ORDERS
    assert fleet.kills["worker"] > 0
    assert fleet.kills["child"] > 0


@dataclass
class Run:
    """One run: its timed actions (place, cancel, kill), their results, and how long it took."""

    fleet: Fleet
    chance: random.Random
    customers: Customers = field(default_factory=Customers)
    ended: list[str] = field(default_factory=list)
    placing_seconds: float = 0.0
    settling_seconds: float = 0.0

    def __post_init__(self) -> None:
        over = max(ORDERS / ORDERS_PER_SECOND, SHORTEST_SECONDS)
        self.orders = customers.planned_orders(ORDERS, over_seconds=over, chance=self.chance)
        self.actions: list[tuple[float, str, PlannedOrder | None]] = [(each.at, "place", each) for each in self.orders]
        cancelled = [(each.at + each.cancels_after, each) for each in self.orders if each.cancels_after is not None]
        self.actions += [(at, "cancel", order) for at, order in cancelled]
        self.actions += [(at, self._kind_of_kill(number), None) for number, at in enumerate(self._kill_times(over))]
        self.actions.sort(key=lambda action: action[0])

    def _kill_times(self, over: float) -> list[float]:
        times = [self.chance.uniform(1, 2)]
        while times[-1] < over:
            times.append(times[-1] + self.chance.uniform(2, 3))
        return times

    def _kind_of_kill(self, number: int) -> str:
        return "kill beat" if number % 5 == 4 else self.chance.choice(["kill worker", "kill child", "kill child"])

    @property
    def results(self) -> dict[str, int]:
        return self.customers.results

    def start(self) -> None:
        for role in ("worker", "worker", "beat", "beat"):
            self.fleet.start(role)
        wait_for_children(self.fleet.processes["worker"][0], 2)

    def act(self) -> None:
        began = time.monotonic()
        for at, action, order in self.actions:
            time.sleep(max(0.0, began + at - time.monotonic()))
            self._do(action, order)
        self.placing_seconds = time.monotonic() - began

    def _do(self, action: str, order: PlannedOrder | None) -> None:
        if order is not None:
            self.customers.place(order) if action == "place" else order.order_id and self.customers.cancel(order)
        elif action == "kill child":
            self.fleet.kill_any_child(self.chance)
        else:
            self.fleet.kill_any(action.removeprefix("kill "), self.chance)
        self.ended += self.fleet.restart_ended()

    def wait_until_quiet(self) -> None:
        began = time.monotonic()
        while time.monotonic() - began < QUIET_WITHIN_SECONDS and self._is_busy():
            self.ended += self.fleet.restart_ended()
            time.sleep(0.25)
        self.settling_seconds = time.monotonic() - began

    def _is_busy(self) -> bool:
        unsent = SagaEvent.objects.filter(published_at=None).exclude(type="")
        return SagaInstance.objects.filter(status__in=OPEN).exists() or unsent.exists()

    def unexpected_outcomes(self, seen: oracle.Snapshot) -> list[oracle.Breach]:
        """The orders that are lost, or have another status than expected."""
        rows = {str(order.pk): order for order in seen.orders.values()}
        breaches = []
        for order in self.orders:
            if not order.order_id:
                continue
            row = rows.get(order.order_id)
            found = "lost" if row is None else row.status
            expected = customers.expected_status(order, row.reason_code if row else "")
            if found != expected:
                detail = f"{found} instead of {expected}, paid with {order.method}: {row.reason if row else ''}"
                breaches.append(oracle.Breach("unexpected outcome", order.order_id, detail))
        return breaches

    def table(self, seen: oracle.Snapshot, breaches: list[oracle.Breach]) -> str:
        by_order, by_saga = oracle.statuses(seen)
        actions = [event.action for events in seen.events.values() for event in events]
        rows: list[tuple[str, object]] = [
            ("seed", SEED),
            ("orders planned", len(self.orders)),
            *sorted(self.results.items()),
            *((f"{role} kills (-9)", count) for role, count in sorted(self.fleet.kills.items())),
            ("processes that ended by themselves", len(self.ended)),
            ("redispatches", actions.count("redriven")),
            ("calls taken over (outcome unknown)", actions.count("step_timed_out") + actions.count("undo_timed_out")),
            ("late results recorded", actions.count("step_fenced") + actions.count("undo_fenced")),
            *((f"orders {status}", count) for status, count in sorted(by_order.items())),
            *((f"sagas {status}", count) for status, count in sorted(by_saga.items())),
            ("seconds of ordering", f"{self.placing_seconds:.1f}"),
            ("seconds until all was final", f"{self.settling_seconds:.1f}"),
            ("breaches", len(breaches)),
        ]
        return "\n" + "\n".join([*(f"  {name:<36} {value!s:>8}" for name, value in rows), *self.ended])
