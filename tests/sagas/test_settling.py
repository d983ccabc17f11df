"""What an operator settles by hand: a parked saga is retried, skipped or closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.engine import commands
from sagas.errors import CannotRetry, WrongResult
from sagas.machine.state import Row
from sagas.models import SagaEvent
from sagas.statuses import Status
from sagas.testing import Runner, done, history, undone
from tests.sagas import toy as toy_steps
from tests.sagas.toy import Crash, SoldOut, Started, World, saga_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def late_charge() -> Iterator[Saga]:
    """A saga whose last step needs what the one before it returned, both after the pivot."""
    saga = (
        Saga("late_charge", takes=toy_steps.ToyInput)
        .step(toy_steps.open_tab, compensate=toy_steps.close_tab)
        .pivot(toy_steps.look)
        .then(toy_steps.cook)
        .then(toy_steps.charge, remote=True)
    )
    registry.register(saga)
    yield saga
    registry.unregister(saga)


def parked_at_the_bell(runner: Runner) -> Row:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 4
    row = Started().start()
    runner.run_to_end()
    return row


def test_a_step_settled_by_hand_is_skipped_and_states_no_fact(runner: Runner) -> None:
    row = parked_at_the_bell(runner)
    commands.skip(row.id, reason="done by hand", actor="op")
    runner.run()
    assert saga_of(row).status == Status.COMPLETED
    assert "skipped ring_bell" in history(row.id)
    assert "ring_bell" not in done(row.id)


def test_a_skipped_step_needs_exactly_what_it_would_have_returned(runner: Runner) -> None:
    row = parked_at_the_bell(runner)
    with pytest.raises(WrongResult):
        commands.skip(row.id, reason="x", actor="op", result={"bells": 1})
    assert saga_of(row).status == Status.NEEDS_ATTENTION


def test_a_call_after_the_pivot_that_never_answers_is_tried_again_by_itself(late_charge: Saga, runner: Runner) -> None:
    World.failures["charge after"] = [Crash()] * 1000
    row = Started().start(late_charge)
    for _ in range(20):
        try:
            runner.run_to_end()
        except Crash:
            runner.lose_messages()
    assert saga_of(row).status == Status.NEEDS_ATTENTION
    assert saga_of(row).retry_at is not None


def test_what_a_skipped_step_would_have_returned_reaches_the_steps_after_it(late_charge: Saga, runner: Runner) -> None:
    World.failures["cook"] = [ValueError("burnt")] * 4
    row = Started().start(late_charge)
    runner.run_to_end()
    commands.skip(row.id, reason="cooked at home", actor="op", result={"bowls": 3})
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED
    assert saga_of(row).data["results"]["cook"] == {"bowls": 3}


@pytest.mark.parametrize(
    ("act", "action", "type_"),
    [
        ("retry", "retried", "saga.retried"),
        ("skip", "skipped", "saga.step_skipped"),
        ("close", "closed", "saga.closed"),
    ],
)
def test_what_an_operator_settles_is_published_with_the_reason(
    runner: Runner, act: str, action: str, type_: str
) -> None:
    row = parked_at_the_bell(runner)
    getattr(commands, act)(row.id, reason="done by hand", actor="op")
    event = SagaEvent.objects.get(saga_id=row.id, action=action)
    assert (event.type, event.payload) == (type_, {"reason": "done by hand"})
    assert (event.message, event.actor) == ("done by hand", "op")


def test_a_skipped_compensation_lets_the_undo_go_on(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.failures["give_back"] = [RuntimeError("provider down")] * 4
    row = Started().start()
    runner.run_to_end()
    commands.skip(row.id, reason="given back in cash", actor="op")
    runner.run()
    assert saga_of(row).status == Status.COMPENSATED
    assert undone(row.id) == ["throw_away", "close_tab"]


def test_a_closed_saga_ends_where_it_stands(runner: Runner) -> None:
    row = parked_at_the_bell(runner)
    commands.close(row.id, reason="nobody minds", actor="op")
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED
    event = SagaEvent.objects.get(saga_id=row.id, action="closed")
    assert (event.actor, event.message) == ("op", "nobody minds")
    with pytest.raises(CannotRetry):
        commands.close(row.id, reason="again", actor="op")
