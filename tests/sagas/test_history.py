"""What a history says, line by line: the words people read, the events others receive, and the tries counted."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from django.test import override_settings

from sagas.definition import registry
from sagas.definition.saga import Retry, Saga, seconds, undo
from sagas.engine import commands
from sagas.holds import holds
from sagas.machine.state import Row
from sagas.storage import storage
from sagas.testing import Runner
from tests.sagas.toy import SoldOut, Started, ToyInput, World, close_tab, look, open_tab

pytestmark = pytest.mark.django_db(transaction=True)

NO_RETRIES = Retry(retries=0, first=seconds(1))
DECLINED = {"reason_code": "toy.sold_out", "reason": "Declined."}


class Line(NamedTuple):
    action: str
    step: str
    status: str
    message: str
    type: str = ""
    payload: dict[str, Any] | None = None
    attempt: int = 0
    actor: str = ""


def lines(row: Row) -> list[Line]:
    facts = [stored.event for stored in storage().events_of(row.id)]
    return [
        Line(fact.action, fact.step, fact.status, fact.message, fact.type, fact.payload, fact.attempt, fact.actor)
        for fact in facts
    ]


STARTED = Line("saga_started", "", "STARTED", "toy started", "saga.started")
OPENED = Line("step_completed", "open_tab", "COMPLETED", "Open tab completed", "tab.opened", attempt=1)
LOOKED = Line("step_completed", "look", "COMPLETED", "Look completed", attempt=1)
COOKED = Line("step_completed", "cook", "COMPLETED", "Cook completed", payload={"bowls": 2}, attempt=1)


@override_settings(SAGAS={"UNDO_RETRY": NO_RETRIES})
def test_the_history_of_a_saga_that_failed_was_parked_and_sent_on(runner: Runner) -> None:
    World.failures["charge after"] = [TimeoutError("lost"), SoldOut("Declined.")]
    World.failures["give_back"] = [RuntimeError("down")]
    row = Started().start()
    runner.run_to_end()
    commands.retry(row.id, reason="up again", actor="op")
    runner.run_to_end()
    error, refused = {"error": "RuntimeError: down"}, {"code": "toy.sold_out", "error": "Declined."}
    assert lines(row) == [
        STARTED,
        OPENED,
        LOOKED,
        COOKED,
        Line("step_claimed", "charge", "STARTED", "Charge started", attempt=1),
        Line("step_retrying", "charge", "RETRYING", "TimeoutError: lost (try 1 of 4, again in 1 s)", attempt=1),
        Line("redriven", "charge", "STARTED", "overdue"),
        Line("step_claimed", "charge", "STARTED", "Charge started", attempt=2),
        Line("step_refused", "charge", "FAILED", "Declined.", "charge.failed", refused, 2),
        Line("compensation_started", "", "COMPENSATING", "Declined.", "saga.compensating", DECLINED),
        Line("undo_claimed", "give_back", "STARTED", "Give back started", attempt=1),
        Line("undo_failed", "give_back", "FAILED", "RuntimeError: down", payload=DECLINED, attempt=1),
        Line("parked", "give_back", "NEEDS_ATTENTION", "RuntimeError: down", "saga.needs_attention", error),
        Line("retried", "give_back", "COMPENSATING", "up again", "saga.retried", {"reason": "up again"}, actor="op"),
        Line("undo_claimed", "give_back", "STARTED", "Give back started", attempt=1),
        *(
            Line("undo_completed", name, "COMPENSATED", f"{words} completed", payload=DECLINED, attempt=1)
            for name, words in (("give_back", "Give back"), ("throw_away", "Throw away"), ("close_tab", "Close tab"))
        ),
        Line("finished", "", "COMPENSATED", "Saga compensated", "saga.compensated", DECLINED),
    ]


def test_the_history_of_a_saga_that_waited_for_a_dependency(runner: Runner) -> None:
    holds.hold_dependency("bank", reason="down", actor="op")
    row = Started().start()
    runner.run()
    holds.release_dependency("bank", reason="up", actor="op")
    runner.run_to_end()
    charge = {"charge_id": f"saga:{row.id}:charge"}
    assert lines(row) == [
        STARTED,
        OPENED,
        LOOKED,
        COOKED,
        Line("held", "charge", "HELD", "Charge waits until bank is no longer on hold"),
        Line("let_go", "", "RELEASED", "bank is no longer on hold"),
        Line("step_claimed", "charge", "STARTED", "Charge started", attempt=1),
        Line("step_completed", "charge", "COMPLETED", "Charge completed", "charge.made", charge, 1),
        Line("step_completed", "serve", "COMPLETED", "Serve completed", attempt=1),
        Line("step_completed", "ring_bell", "COMPLETED", "Ring bell completed", attempt=1),
        Line("finished", "", "COMPLETED", "Saga completed", "saga.completed"),
    ]


def test_the_history_of_a_saga_whose_local_step_fails_for_good(runner: Runner) -> None:
    World.failures["cook"] = [ValueError("burnt")] * 4
    row = Started().start()
    runner.run_to_end()
    failed = next(line for line in lines(row) if line.action == "step_failed")
    payload = {"code": "step.failed", "error": "ValueError: burnt"}
    assert failed == Line("step_failed", "cook", "FAILED", "ValueError: burnt", "", payload, 4)


def test_the_history_of_a_call_that_never_answered(runner: Runner) -> None:
    World.failures["charge after"] = [KeyboardInterrupt()]
    row = Started().start()
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    runner.lose_messages()
    runner.run_to_end()
    found = lines(row)
    timed_out = found.index(next(line for line in found if line.action == "step_timed_out"))
    message = "No answer from charge (try 1); its outcome is unknown."
    assert found[timed_out : timed_out + 2] == [
        Line("step_timed_out", "charge", "UNKNOWN", message, attempt=1),
        Line("redriven", "charge", "STARTED", "overdue"),
    ]


@override_settings(SAGAS={"UNDO_RETRY": NO_RETRIES})
@pytest.mark.parametrize(
    ("failures", "types"), [([], ["tab.closed"]), ([RuntimeError("stuck")], ["tab.not_closed"])], ids=["done", "failed"]
)
def test_a_compensation_states_what_became_of_it(
    runner: Runner, failures: list[BaseException], types: list[str]
) -> None:
    saga = Saga("tab", takes=ToyInput).step(
        open_tab, compensate=undo(close_tab, done="tab.closed", failed="tab.not_closed")
    )
    saga.pivot(look)
    World.failures |= {"look": [SoldOut("no")], "close_tab": [*failures]}
    registry.register(saga)
    try:
        row = Started().start(saga)
        runner.run_to_end()
        assert [line.type for line in lines(row) if line.step == "close_tab" and line.type.startswith("tab.")] == types
    finally:
        registry.unregister(saga)
