"""A process may die at every boundary: each one is tried, and for creating and cancelling each ordered pair.

A scenario is run once to learn which failpoints it passes. Then it is run again for each of them with a crash there,
with all messages lost and with the broker delivering again, and must end as it would have without the crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from sagas.engine import commands
from sagas.failpoints import Failpoint, installed
from sagas.holds import holds
from sagas.models import SagaDependency, SagaEvent, SagaHold, SagaInstance
from sagas.storage import storage
from sagas.testing import Runner, done, undone
from tests.sagas.toy import STEPS, Crash, SoldOut, Started, World, effects

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]


@dataclass
class Crasher:
    """Dies at the given numbers of the failpoints passed, counted from 0 over the whole life of a scenario."""

    at: tuple[int, ...] = ()
    passed: list[Failpoint] = field(default_factory=list)

    def __call__(self, point: Failpoint) -> None:
        self.passed.append(point)
        if len(self.passed) - 1 in self.at:
            raise Crash(point)


def create(_: Started) -> None:
    """Nothing but the saga itself."""


def refuse_serving(_: Started) -> None:
    World.failures["serve"] = [SoldOut("no")] * 20


def lose_the_charge(_: Started) -> None:
    World.failures["charge after"] = [TimeoutError("lost")] * 20


def hold_the_bank(_: Started) -> None:
    if not SagaHold.objects.exists():
        holds.hold_dependency("bank", reason="down", actor="op")


def hold_the_bank_before_the_undo(start: Started) -> None:
    refuse_serving(start)
    World.during["charge after"] = lambda: hold_the_bank(start)


@dataclass(frozen=True)
class Scenario:
    prepare: Callable[[Started], None]
    is_cancelled: bool
    status: str
    undone: tuple[str, ...]
    charge: str
    is_held: bool = False


ALL_UNDONE = ("mute_bell", "give_back", "throw_away", "close_tab")
SCENARIOS = {
    "create": Scenario(create, False, "COMPLETED", (), "live"),
    "refused": Scenario(refuse_serving, False, "COMPENSATED", ALL_UNDONE[1:], "void"),
    "lost reply": Scenario(lose_the_charge, False, "COMPENSATED", ALL_UNDONE[1:], "void"),
    "cancelled": Scenario(create, True, "CANCELLED", ALL_UNDONE, "void"),
    "held": Scenario(hold_the_bank, False, "COMPLETED", (), "live", is_held=True),
    "undo held": Scenario(hold_the_bank_before_the_undo, False, "COMPENSATED", ALL_UNDONE[1:], "void", is_held=True),
}


@dataclass
class Life:
    """One run of a scenario, through as many crashes as asked for."""

    scenario: Scenario
    crasher: Crasher
    is_redelivered: bool
    start: Started = field(default_factory=Started)

    def live(self) -> None:
        World.reset()
        for table in (SagaHold, SagaDependency):
            table.objects.all().delete()
        self.scenario.prepare(self.start)
        with installed(self.crasher), Runner() as runner:
            self._insist(runner, self.start.start)
            self._insist(runner, runner.run_to_end)
            if self.scenario.is_held:
                self._insist(runner, self._release)
                self._insist(runner, runner.run_to_end)
            if self.scenario.is_cancelled:
                self._insist(runner, self._cancel)
                self._insist(runner, runner.run_to_end)

    def _insist(self, runner: Runner, act: Callable[[], object]) -> None:
        """Do it again after each crash, as clients, brokers and supervisors do."""
        while True:
            in_flight = [list(chain) for chain in runner.chains]
            try:
                act()
            except Crash:
                runner.lose_messages()
                if self.is_redelivered:
                    runner.chains.extend(in_flight)
                continue
            return

    def _release(self) -> None:
        if storage().active_hold("bank") is not None:
            holds.release_dependency("bank", reason="up", actor="op")

    def _cancel(self) -> None:
        if self.saga.status == "COMPLETED":
            commands.cancel(self.saga.pk, reason_code="other", reason="x", actor="ann")

    @property
    def saga(self) -> SagaInstance:
        return SagaInstance.objects.get(subject=self.start.order_id)

    def judge(self) -> None:
        saga, scenario = self.saga, self.scenario
        assert saga.status == scenario.status
        assert tuple(undone(saga.pk)) == scenario.undone
        completed = done(saga.pk)
        assert completed == STEPS[: len(completed)]
        assert list(World.charges.values()) == [scenario.charge]
        expected = [name for name in ("open_tab", "cook", "serve", "ring_bell") if name in completed]
        expected += [name for name in scenario.undone if name in ("throw_away", "close_tab")]
        assert effects(self.start.order_id) == expected
        seqs = list(SagaEvent.objects.filter(saga_id=saga.pk).order_by("seq").values_list("seq", flat=True))
        assert seqs == list(range(1, saga.seq + 1))


def live(name: str, *at: int, is_redelivered: bool = False) -> Crasher:
    crasher = Crasher(at)
    life = Life(SCENARIOS[name], crasher, is_redelivered)
    life.live()
    life.judge()
    return crasher


def boundaries(name: str) -> int:
    return len(live(name).passed)


@pytest.fixture(params=SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param


@pytest.mark.parametrize("is_redelivered", [False, True], ids=["messages lost", "delivered again"])
def test_a_crash_at_any_boundary_changes_nothing(scenario: str, is_redelivered: bool, capsys) -> None:
    count = boundaries(scenario)
    for number in range(count):
        live(scenario, number, is_redelivered=is_redelivered)
    with capsys.disabled():
        print(f"\n{scenario}: {count} crash points right")  # noqa: T201 - the count is the result


@pytest.mark.parametrize("name", ["create", "cancelled"])
def test_a_crash_at_any_two_boundaries_changes_nothing(name: str, capsys) -> None:
    pairs = 0
    for first in range(boundaries(name)):
        for second in range(first + 1, len(live(name, first).passed)):
            live(name, first, second)
            pairs += 1
    with capsys.disabled():
        print(f"\n{name}: {pairs} ordered pairs right")  # noqa: T201 - the count is the result


def test_every_failpoint_is_passed_by_some_scenario() -> None:
    passed = {point for name in SCENARIOS for point in live(name).passed}
    elsewhere = {Failpoint.RETRY_COMMITTED, Failpoint.AUTO_RETRY_COMMITTED}
    assert set(Failpoint) - passed == elsewhere, "in test_settling.py and test_auto_retry.py"


def test_failpoints_are_for_tests_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "pytest")
    with pytest.raises(RuntimeError, match="tests only"), installed(lambda _: None):
        pass
