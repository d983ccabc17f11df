"""Cancelling a saga, at any point of its way."""

from __future__ import annotations

import uuid

import pytest

from sagas.engine import commands, sweep
from sagas.errors import AlreadyCancelling, CannotCancel, CannotRetry, UnknownSaga
from sagas.statuses import Status
from sagas.testing import Runner, history, undone
from tests.sagas.toy import SoldOut, Started, Taken, World, effects, saga_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_completed_saga_is_cancelled_by_undoing_all_of_it(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    commands.cancel(row.id, reason_code="customer_request", reason="not hungry", actor="ann")
    runner.run()
    saga = saga_of(row)
    assert saga.status == Status.CANCELLED
    assert undone(row.id) == ["mute_bell", "give_back", "throw_away", "close_tab"]
    assert (saga.reason_code, saga.reason) == ("customer_request", "not hungry")


def test_a_saga_cancelled_before_its_next_message_never_goes_on(runner: Runner) -> None:
    row = Started().start()
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    runner.run()
    assert saga_of(row).status == Status.CANCELLED
    assert effects(row.subject) == ["open_tab", "close_tab"]


def test_a_call_in_flight_is_waited_for_and_then_undone(runner: Runner) -> None:
    row = Started().start()
    World.during["charge after"] = lambda: commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    runner.run()
    saga = saga_of(row)
    assert saga.status == Status.CANCELLED
    assert list(World.charges.values()) == ["void"]
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]
    assert "step_fenced charge" in history(row.id)


def test_nothing_is_undone_while_the_call_it_undoes_is_in_flight(runner: Runner) -> None:
    row = Started().start()
    seen = []

    def cancel_and_look() -> None:
        commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
        sweep.sweep()
        seen.append(undone(row.id))

    World.during["charge before"] = cancel_and_look
    runner.run()
    assert seen == [[]]


def test_a_compensating_saga_can_be_cancelled_and_ends_cancelled(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.failures["give_back"] = [RuntimeError("down")]
    row = Started().start()
    runner.run()
    assert saga_of(row).status == Status.COMPENSATING
    commands.cancel(row.id, reason_code="customer_request", reason="hurry", actor="ann")
    runner.run_to_end()
    assert saga_of(row).status == Status.CANCELLED


def test_a_saga_parked_while_compensating_can_be_cancelled_and_goes_on_undoing(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.failures["give_back"] = [SoldOut("never")]
    row = Started().start()
    runner.run_to_end()
    assert (saga_of(row).status, saga_of(row).resume_status) == (Status.NEEDS_ATTENTION, Status.COMPENSATING)
    commands.cancel(row.id, reason_code="customer_request", reason="hurry", actor="ann")
    assert saga_of(row).status == Status.CANCELLING
    runner.run_to_end()
    assert saga_of(row).status == Status.CANCELLED
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]


def test_compensations_get_the_actor_who_cancelled(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    runner.run_to_end()
    assert World.actors == ["ann"]


def test_after_a_failure_nobody_is_said_to_have_cancelled(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    Started().start()
    runner.run_to_end()
    assert World.actors == [""]


def test_what_cannot_be_cancelled_says_so(runner: Runner) -> None:
    row = Started().start()
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    with pytest.raises(AlreadyCancelling):
        commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    runner.run()
    with pytest.raises(CannotCancel):
        commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    with pytest.raises(UnknownSaga):
        commands.cancel(uuid.uuid4(), reason_code="other", reason="x", actor="ann")
    with pytest.raises(CannotRetry):
        commands.retry(row.id, reason="x", actor="op")


def test_losing_the_race_for_the_subject_changes_nothing(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    World.is_claimed = True
    with pytest.raises(Taken):
        commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    assert saga_of(row).status == Status.COMPLETED
