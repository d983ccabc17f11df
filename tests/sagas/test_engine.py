"""How a saga runs: each step once, a failure undone, an error retried, a history without gaps. On a toy saga."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from sagas.engine import commands, execution
from sagas.engine.dispatch import StepMessage
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import Status
from sagas.testing import Runner, done, undone
from tests.sagas.toy import STEPS, SoldOut, Started, World, effects, saga_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_step_runs_once_and_in_order(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    saga = saga_of(row)
    assert saga.status == Status.COMPLETED
    assert done(row.id) == STEPS
    assert effects(row.subject) == ["open_tab", "cook", "serve", "ring_bell"]
    assert list(World.charges.values()) == ["live"]
    assert saga.wake_at is None
    assert saga.finished_at is not None


def test_the_first_local_step_commits_with_the_start(runner: Runner) -> None:
    row = Started().start()
    assert effects(row.subject) == ["open_tab"]
    assert saga_of(row).position == 1


def test_a_refusal_of_the_first_step_writes_nothing(runner: Runner) -> None:
    World.failures["open_tab"] = [SoldOut("No soup.")]
    with pytest.raises(SoldOut):
        Started().start()
    assert not SagaInstance.objects.exists()
    assert not SagaEvent.objects.exists()
    assert not Group.objects.filter(name__endswith=" open_tab").exists()


def test_starting_twice_with_one_key_is_one_saga(runner: Runner) -> None:
    start = Started()
    assert start.start().id == start.start().id
    runner.run()
    assert SagaInstance.objects.count() == 1
    assert effects(start.order_id).count("open_tab") == 1


def test_a_refused_step_undoes_everything_before_it_in_reverse(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("The cook left.")]
    row = Started().start()
    runner.run()
    saga = saga_of(row)
    assert saga.status == Status.COMPENSATED
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]
    assert saga.reason_code == "toy.sold_out"
    assert list(World.charges.values()) == ["void"]


def test_a_call_refused_at_its_first_try_has_nothing_to_undo(runner: Runner) -> None:
    World.failures["charge before"] = [SoldOut("Declined.")]
    row = Started().start()
    runner.run()
    assert undone(row.id) == ["throw_away", "close_tab"]
    assert saga_of(row).status == Status.COMPENSATED


def test_a_call_refused_after_an_unknown_outcome_is_undone(runner: Runner) -> None:
    World.failures["charge before"] = [TimeoutError("lost"), SoldOut("Declined.")]
    row = Started().start()
    runner.run_to_end()
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]


def test_a_retryable_error_is_retried_after_its_delay(runner: Runner) -> None:
    World.failures["charge before"] = [ConnectionError("reset")]
    row = Started().start()
    runner.run()
    saga = saga_of(row)
    assert (saga.status, saga.attempt) == (Status.STARTED, 1)
    runner.run()
    assert saga_of(row).attempt == 1, "the retry must wait for its time"
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED
    assert World.calls.count("charge before") == 2


def test_a_message_of_a_failed_try_does_not_begin_the_next_one_before_its_time(runner: Runner) -> None:
    World.failures["charge before"] = [ConnectionError("reset")]
    row = Started().start()
    runner.run()
    of_the_failed_try = StepMessage(row.id, saga_of(row).position, 1)
    with pytest.raises(execution.Stale):
        execution.run_step(of_the_failed_try, is_redelivered=True)
    assert World.calls.count("charge before") == 1


def test_retries_that_run_out_turn_the_saga_round(runner: Runner) -> None:
    World.failures["charge after"] = [ConnectionError("reset")] * 4
    row = Started().start()
    runner.run_to_end()
    saga = saga_of(row)
    assert saga.status == Status.COMPENSATED
    assert World.calls.count("charge after") == 4
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]
    assert list(World.charges.values()) == ["void"]


def test_a_lost_reply_is_retried_with_the_same_key(runner: Runner) -> None:
    World.failures["charge after"] = [TimeoutError("no reply")]
    row = Started().start()
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED
    assert list(World.charges.values()) == ["live"]


def test_a_failing_local_step_leaves_no_effect_behind(runner: Runner) -> None:
    World.failures["cook"] = [ValueError("burnt")] * 4
    row = Started().start()
    runner.run_to_end()
    assert "cook" not in effects(row.subject)
    assert undone(row.id) == ["close_tab"]


def test_a_step_after_the_pivot_is_parked_when_it_never_works(runner: Runner) -> None:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 4
    row = Started().start()
    runner.run_to_end()
    saga = saga_of(row)
    assert saga.status == Status.NEEDS_ATTENTION
    assert "no bell" in saga.error
    assert undone(row.id) == []
    commands.retry(row.id, reason="bell repaired", actor="op")
    runner.run()
    assert saga_of(row).status == Status.COMPLETED


def test_a_compensation_that_never_works_is_parked_and_can_be_retried(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.failures["give_back"] = [RuntimeError("provider down")] * 4
    row = Started().start()
    runner.run_to_end()
    assert saga_of(row).status == Status.NEEDS_ATTENTION
    failed = SagaEvent.objects.get(saga_id=row.id, action="undo_failed")
    assert (failed.step, failed.status, failed.message) == ("give_back", "FAILED", "RuntimeError: provider down")
    assert failed.payload == {"reason_code": "toy.sold_out", "reason": "no"}
    commands.retry(row.id, reason="provider is back", actor="op")
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPENSATED
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]


def test_a_best_effort_compensation_does_not_stop_the_undo(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    World.failures["mute_bell"] = [RuntimeError("stuck")] * 4
    commands.cancel(row.id, reason_code="other", reason="changed my mind", actor="ann")
    runner.run_to_end()
    assert saga_of(row).status == Status.CANCELLED
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]


# -- history --
def test_the_history_is_gap_free_and_its_last_line_is_the_row(runner: Runner) -> None:
    World.failures["charge after"] = [TimeoutError("x"), SoldOut("no")]
    row = Started().start()
    runner.run_to_end()
    saga = saga_of(row)
    events = list(SagaEvent.objects.filter(saga_id=row.id).order_by("seq"))
    assert [event.seq for event in events] == list(range(1, saga.seq + 1))
    last = events[-1]
    assert (last.saga_status, last.position, last.epoch) == (saga.status, saga.position, saga.epoch)


def test_facts_are_named_as_the_definition_says(runner: Runner) -> None:
    World.failures["charge before"] = [SoldOut("no")]
    row = Started().start()
    runner.run_to_end()
    types = list(
        SagaEvent.objects.filter(saga_id=row.id).exclude(type="").order_by("seq").values_list("type", flat=True)
    )
    assert types == ["saga.started", "tab.opened", "charge.failed", "saga.compensating", "saga.compensated"]


def test_start_insists_on_a_transaction(runner: Runner) -> None:
    assert not transaction.get_connection().in_atomic_block
    with pytest.raises(RuntimeError, match="atomic"):
        commands.start(None, input=None, key="", subject="")  # type: ignore[arg-type]
