"""What catches the planted defects: tests as they are, seeds of the simulator, and small searches of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from orders import services
from orders.errors import CannotAccept
from orders.models import MenuItem
from sagas.engine import commands
from sagas.failpoints import Failpoint, installed
from sagas.models import SagaInstance
from sagas.testing import Runner, undone
from tests.orders.builders import BY_USER, placed
from tests.orders.test_create_order_failures import test_a_failure_leaves_what_the_table_says as failure_table
from tests.proofs.model.machine import running
from tests.proofs.model.protocols import PROTOCOLS
from tests.proofs.model.search import Search
from tests.proofs.simulation.fault_hooks import Crash
from tests.proofs.simulation.simulator import Simulation
from tests.proofs.simulation.world import prepared
from tests.sagas.toy import Started, World


@dataclass(frozen=True)
class Check:
    """A tier's name for people, and what runs it; its parameters without a default are fixtures."""

    name: str
    run: Callable[..., None]


def test(function: Callable[..., None], **given: Any) -> Check:
    """A test of the suite, run as it is."""
    told = "".join(f", {value}" for value in given.values())
    where = function.__module__.removeprefix("tests.").replace(".", "/")
    return Check(f"`{where}.py` {function.__name__}{told}", partial(function, **given) if given else function)


test.__test__ = False  # type: ignore[attr-defined] # it only looks like one


def simulator(first: int, last: int) -> Check:
    def simulate() -> None:
        with prepared():
            for seed in range(first, last + 1):
                Simulation(seed).run_or_explain()

    return Check(f"simulator, seeds {first} to {last}", simulate)


def model(name: str) -> Check:
    def search() -> None:
        with running(PROTOCOLS[name]) as machine:
            found = Search(machine, workers=2, messages=2, limit=6_000, stops_at_once=True).run()
        assert not found.violations, {what: found.trace(number) for what, number in found.violations.items()}

    return Check(f"model, {name}", search)


def table_row(step: str, kind: str) -> Check:
    return test(failure_table, step=step, kind=kind, run_ahead=True)


# -- checks of their own --------------------------------------------------------------------------------------------
def nothing_is_sent_for_a_saga_that_was_rolled_back(runner: Runner) -> None:
    class Changed(Exception):
        pass

    def change_ones_mind() -> None:
        with transaction.atomic():
            Started().start()
            raise Changed

    with pytest.raises(Changed):
        change_ones_mind()
    assert not runner.chains, "a message went out for a saga that does not exist"


def a_cancellation_just_before_running_ahead_is_not_overrun(runner: Runner) -> None:
    """Serving has committed and the worker is about to ring the bell from what it knows."""
    row = Started().start()
    asked: list[str] = []

    def cancel(point: Failpoint) -> None:
        if point is Failpoint.STEP_COMMITTED and World.calls[-1] == "serve" and not asked:
            asked.append("once")
            commands.cancel(row.id, reason_code="other", reason="x", actor="ann")

    with installed(cancel):
        runner.run_to_end()
    assert SagaInstance.objects.get(pk=row.id).status == "CANCELLED"
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]


def a_step_after_the_pivot_that_kills_every_worker_is_parked(runner: Runner) -> None:
    World.troubles["ring_bell"] = [Crash()] * 1000
    row = Started().start()
    for _ in range(60):
        try:
            runner.run_to_end()
        except Crash:
            runner.lose_messages()
    assert SagaInstance.objects.get(pk=row.id).status == "NEEDS_ATTENTION"


def two_runners_cannot_have_one_order(alice: APIClient, laptop: MenuItem, runner: Runner) -> None:
    order, _ = placed(alice, BY_USER)
    runner.run_to_end()
    services.claim_for_acceptance(order_id=str(order.pk), runner="rita")
    with pytest.raises(CannotAccept):
        services.claim_for_acceptance(order_id=str(order.pk), runner="rob")


OWN_CHECKS = {
    function.__name__: Check(f"`planted/checks.py` {function.__name__}", function)
    for function in (
        nothing_is_sent_for_a_saga_that_was_rolled_back,
        a_cancellation_just_before_running_ahead_is_not_overrun,
        a_step_after_the_pivot_that_kills_every_worker_is_parked,
        two_runners_cannot_have_one_order,
    )
}
