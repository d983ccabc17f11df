"""A call that may have had its effect before its saga was parked is still undone after an operator sent it on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import transaction

from sagas.definition import registry
from sagas.definition.saga import Retry, Saga, seconds
from sagas.engine import commands
from sagas.machine.state import Row
from sagas.models import SagaInstance
from sagas.storage import clock
from sagas.testing import Runner, undone
from tests.sagas import toy
from tests.sagas.toy import SoldOut, ToyInput, World

pytestmark = pytest.mark.django_db(transaction=True)


def pour(*, order_id: str) -> toy.Soup:
    return {"bowls": 1}


ONCE = Retry(retries=0, first=seconds(1))
#: The charge comes after the pivot, so that its failure parks the saga.
pay_last = (
    Saga("pay_last", takes=ToyInput)
    .step(toy.open_tab, compensate=toy.close_tab)
    .pivot(pour)
    .then(toy.charge, compensate=toy.give_back, remote=True, retry=ONCE, timeout=seconds(10))
)
#: The charge is the point of no return itself and nothing takes it back.
pay_or_not = (
    Saga("pay_or_not", takes=ToyInput)
    .step(toy.cook, compensate=toy.throw_away)
    .pivot(toy.charge, remote=True, retry=ONCE, timeout=seconds(10))
)


@pytest.fixture
def runner(transactional_db: None) -> Iterator[Runner]:
    World.reset()
    registry.register(pay_last, pay_or_not)
    with Runner() as runner:
        yield runner
    registry.unregister(pay_last)
    registry.unregister(pay_or_not)


def parked(saga: Saga, runner: Runner) -> Row:
    """A saga parked because its charge was made and nobody heard of it."""
    World.failures["charge after"] = [TimeoutError("no reply")]
    with transaction.atomic():
        row = commands.start(saga, input=ToyInput("o-1", 100), key="o-1", subject="o-1")
    runner.run_to_end()
    assert status_of(row) == "NEEDS_ATTENTION"
    assert list(World.charges.values()) == ["live"]
    return row


def status_of(row: Row) -> str:
    return SagaInstance.objects.get(pk=row.id).status


def test_a_saga_cancelled_right_after_it_was_sent_on_gives_the_charge_back(runner: Runner) -> None:
    row = parked(pay_last, runner)
    commands.retry(row.id, reason="try again", actor="op")
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    runner.run_to_end()
    assert status_of(row) == "CANCELLED"
    assert undone(row.id) == ["give_back", "close_tab"]
    assert list(World.charges.values()) == ["void"]


def test_a_pivot_of_unknown_outcome_can_be_sent_on_after_its_deadline(runner: Runner) -> None:
    row = parked(pay_or_not, runner)
    clock.advance(2 * pay_or_not.deadline)
    commands.retry(row.id, reason="the provider is back", actor="op")
    runner.run_to_end()
    assert status_of(row) == "COMPLETED"


def test_a_refusal_after_an_operator_sent_it_on_does_not_prove_that_the_pivot_never_ran(runner: Runner) -> None:
    row = parked(pay_or_not, runner)
    World.failures["charge before"] = [SoldOut("no")]
    commands.retry(row.id, reason="try again", actor="op")
    runner.run_to_end()
    assert status_of(row) == "NEEDS_ATTENTION", "nobody knows whether the first try had its effect"
    assert undone(row.id) == []
