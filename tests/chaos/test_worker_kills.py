"""Workers are killed with -9 every few seconds while people order. Nothing may be lost, and nothing done twice."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field

import pytest

from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import OPEN
from tests.harness import customers, oracle, sink
from tests.harness.customers import Customers, Wish
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
    run.play()
    run.wait_until_quiet()
    seen = oracle.snapshot()
    breaches = oracle.judge(seen) + oracle.events_arrived(seen, sink.received(fleet.environment["BROKER_URL"]))
    breaches += run.wrong_fates(seen)
    with capsys.disabled():
        print(run.table(seen, breaches))  # noqa: T201
    assert not breaches, f"seed {SEED}\n" + "\n".join(map(str, breaches[:40])) + "\n" + fleet.last_words()
    assert run.answers["placed"] + sum(bool(wish.refusal) for wish in run.wishes) == ORDERS
    assert fleet.kills["worker"] > 0
    assert fleet.kills["child"] > 0


@dataclass
class Run:
    """One storm: the plan, what was done, and how long it took."""

    fleet: Fleet
    chance: random.Random
    customers: Customers = field(default_factory=Customers)
    fallen: list[str] = field(default_factory=list)
    placing_seconds: float = 0.0
    settling_seconds: float = 0.0

    def __post_init__(self) -> None:
        over = max(ORDERS / ORDERS_PER_SECOND, SHORTEST_SECONDS)
        self.wishes = customers.wishes(ORDERS, over_seconds=over, chance=self.chance)
        self.deeds: list[tuple[float, str, Wish | None]] = [(wish.at, "place", wish) for wish in self.wishes]
        cancelled = [(wish.at + wish.cancels_after, wish) for wish in self.wishes if wish.cancels_after is not None]
        self.deeds += [(at, "cancel", wish) for at, wish in cancelled]
        self.deeds += [(at, self._kind_of_kill(number), None) for number, at in enumerate(self._kill_times(over))]
        self.deeds.sort(key=lambda deed: deed[0])

    def _kill_times(self, over: float) -> list[float]:
        times = [self.chance.uniform(1, 2)]
        while times[-1] < over:
            times.append(times[-1] + self.chance.uniform(2, 3))
        return times

    def _kind_of_kill(self, number: int) -> str:
        return "kill beat" if number % 5 == 4 else self.chance.choice(["kill worker", "kill child", "kill child"])

    @property
    def answers(self) -> dict[str, int]:
        return self.customers.answers

    def start(self) -> None:
        for role in ("worker", "worker", "beat", "beat"):
            self.fleet.start(role)
        wait_for_children(self.fleet.processes["worker"][0], 2)

    def play(self) -> None:
        began = time.monotonic()
        for at, deed, wish in self.deeds:
            time.sleep(max(0.0, began + at - time.monotonic()))
            self._do(deed, wish)
        self.placing_seconds = time.monotonic() - began

    def _do(self, deed: str, wish: Wish | None) -> None:
        if wish is not None:
            self.customers.place(wish) if deed == "place" else wish.order_id and self.customers.cancel(wish)
        elif deed == "kill child":
            self.fleet.kill_any_child(self.chance)
        else:
            self.fleet.kill_any(deed.removeprefix("kill "), self.chance)
        self.fallen += self.fleet.restart_the_fallen()

    def wait_until_quiet(self) -> None:
        began = time.monotonic()
        while time.monotonic() - began < QUIET_WITHIN_SECONDS and self._is_busy():
            self.fallen += self.fleet.restart_the_fallen()
            time.sleep(0.25)
        self.settling_seconds = time.monotonic() - began

    def _is_busy(self) -> bool:
        unsent = SagaEvent.objects.filter(published_at=None).exclude(type="")
        return SagaInstance.objects.filter(status__in=OPEN).exists() or unsent.exists()

    def wrong_fates(self, seen: oracle.Snapshot) -> list[oracle.Breach]:
        """A healthy order that nobody cancelled is there; one whose card was declined is not."""
        orders = {str(order.pk): order for order in seen.orders.values()}
        breaches = []
        for wish in self.wishes:
            if not wish.order_id:
                continue
            order = orders.get(wish.order_id)
            found = "lost" if order is None else order.status
            wanted = customers.expected_status(wish, order.reason_code if order else "")
            if found != wanted:
                detail = f"{found} instead of {wanted}, paid with {wish.method}: {order.reason if order else ''}"
                breaches.append(oracle.Breach("wrong fate", wish.order_id, detail))
        return breaches

    def table(self, seen: oracle.Snapshot, breaches: list[oracle.Breach]) -> str:
        by_order, by_saga = oracle.statuses(seen)
        actions = [event.action for events in seen.events.values() for event in events]
        rows: list[tuple[str, object]] = [
            ("seed", SEED),
            ("orders wished", len(self.wishes)),
            *sorted(self.answers.items()),
            *((f"{role} kills (-9)", count) for role, count in sorted(self.fleet.kills.items())),
            ("processes that fell by themselves", len(self.fallen)),
            ("re-drives", actions.count("redriven")),
            ("calls taken over (outcome unknown)", actions.count("step_timed_out") + actions.count("undo_timed_out")),
            ("late answers kept", actions.count("step_fenced") + actions.count("undo_fenced")),
            *((f"orders {status}", count) for status, count in sorted(by_order.items())),
            *((f"sagas {status}", count) for status, count in sorted(by_saga.items())),
            ("seconds of ordering", f"{self.placing_seconds:.1f}"),
            ("seconds until all was final", f"{self.settling_seconds:.1f}"),
            ("breaches", len(breaches)),
        ]
        return "\n" + "\n".join([*(f"  {name:<36} {value!s:>8}" for name, value in rows), *self.fallen])
