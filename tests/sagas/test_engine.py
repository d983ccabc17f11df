"""The engine's protocol, on a toy saga, with messages and time in the test's hands."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, transaction

from sagas import tasks
from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.engine import commands, execution, sweep
from sagas.engine.dispatch import StepMessage
from sagas.errors import AlreadyCancelling, CannotCancel, CannotRetry, UnknownSaga, WrongResult
from sagas.machine.state import Row
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import Status
from sagas.testing import Runner, done, history, undone
from tests.sagas import toy as toy_steps
from tests.sagas.toy import STEPS, SoldOut, Started, Taken, World, effects

pytestmark = pytest.mark.django_db(transaction=True)


class Crash(BaseException):
    """What a kill -9 does to a process: nothing after it runs."""


def saga_of(row: object) -> SagaInstance:
    return SagaInstance.objects.get(id=row.id)  # type: ignore[attr-defined]


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


# -- cancelling -----------------------------------------------------------------------------------------------------
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


# -- crashes, lost and doubled messages -----------------------------------------------------------------------------
def test_lost_messages_are_sent_again_by_the_sweep(runner: Runner) -> None:
    row = Started().start()
    runner.lose_messages()
    runner.run()
    assert saga_of(row).position == 1
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED


def test_doubled_messages_do_nothing(runner: Runner) -> None:
    row = Started().start()
    runner.chains.extend([list(chain) for chain in runner.chains for _ in range(3)])
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED
    assert effects(row.subject) == ["open_tab", "cook", "serve", "ring_bell"]
    assert World.calls.count("charge before") == 1


@pytest.mark.parametrize("point", ["look", "cook", "charge before", "charge after", "serve", "ring_bell"])
def test_a_worker_that_dies_in_a_step_loses_and_doubles_nothing(runner: Runner, point: str) -> None:
    World.failures[point] = [Crash()]
    row = Started().start()
    with pytest.raises(Crash):
        runner.run()
    runner.lose_messages()
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED
    assert effects(row.subject) == ["open_tab", "cook", "serve", "ring_bell"]
    assert list(World.charges.values()) == ["live"]


@pytest.mark.parametrize("point", ["mute_bell", "give_back", "throw_away", "close_tab"])
def test_a_worker_that_dies_in_a_compensation_undoes_once(runner: Runner, point: str) -> None:
    row = Started().start()
    runner.run()
    World.failures[point] = [Crash()]
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    with pytest.raises(Crash):
        runner.run()
    runner.lose_messages()
    runner.run_to_end()
    assert saga_of(row).status == Status.CANCELLED
    assert effects(row.subject) == ["open_tab", "cook", "serve", "ring_bell", "throw_away", "close_tab"]
    assert list(World.charges.values()) == ["void"]


def test_a_step_that_kills_its_worker_every_time_ends(runner: Runner) -> None:
    World.failures["cook"] = [Crash()] * 1000
    row = Started().start()
    for _ in range(100):
        try:
            runner.run_to_end()
        except Crash:
            runner.lose_messages()
            runner.wait_for_next()
        if saga_of(row).status != Status.STARTED:
            break
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPENSATED
    assert World.calls.count("cook") <= 30


def test_a_call_that_kills_its_worker_every_time_ends_and_is_undone(runner: Runner) -> None:
    World.failures["charge after"] = [Crash()] * 1000
    row = Started().start()
    for _ in range(100):
        try:
            runner.run_to_end()
        except Crash:
            runner.lose_messages()
        if saga_of(row).status != Status.STARTED:
            break
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPENSATED
    assert World.calls.count("charge after") == 4
    assert list(World.charges.values()) == ["void"]
    assert saga_of(row).reason_code == "step.timed_out"


def test_a_result_that_comes_after_its_lease_is_kept_but_moves_nothing(runner: Runner) -> None:
    row = Started().start()

    def outlive_the_lease() -> None:
        del World.during["charge before"]
        runner.let_pass(timedelta(seconds=16))
        runner.run()

    World.during["charge before"] = outlive_the_lease
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED
    assert history(row.id).count("step_fenced charge") == 1
    assert done(row.id) == STEPS
    assert list(World.charges.values()) == ["live"]


@pytest.mark.parametrize(("lasts", "status"), [(1, "LATE"), (16, "STALE")], ids=["in its lease", "after its lease"])
def test_an_answer_that_comes_too_late_is_kept_as_a_fact(runner: Runner, lasts: int, status: str) -> None:
    row = Started().start()

    def cancel_and_take_long() -> None:
        del World.during["charge after"]
        commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
        runner.let_pass(timedelta(seconds=lasts))

    World.during["charge after"] = cancel_and_take_long
    runner.run_to_end()
    event = SagaEvent.objects.get(saga_id=row.id, action="step_fenced")
    assert (event.step, event.status, event.payload) == ("charge", status, {"charge_id": f"saga:{row.id}:charge"})
    assert event.message == "The answer came after the saga had moved on"


def test_link_error_for_a_step_that_succeeded_changes_nothing(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    assert sweep.decide(row.id, 1) is None
    assert saga_of(row).status == Status.COMPLETED


def test_link_error_called_twice_or_never_undoes_once(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    row = Started().start()
    while not runner.errbacks:
        runner.deliver()
    runner.errbacks.extend(list(runner.errbacks) * 2)
    runner.run_to_end()
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]
    assert effects(row.subject) == ["open_tab", "cook", "throw_away", "close_tab"]


def test_link_error_leaves_a_saga_of_another_release_to_the_sweep(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    row = Started().start()
    while not runner.errbacks:
        runner.deliver()
    SagaInstance.objects.filter(pk=row.id).update(version=99)
    tasks.compensate.run(str(row.id), 1)
    assert (saga_of(row).status, undone(row.id)) == (Status.COMPENSATING, [])
    SagaInstance.objects.filter(pk=row.id).update(version=1)
    runner.run_to_end()
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]


@pytest.mark.parametrize("failing", ["charge before", "serve"], ids=["forward", "back"])
def test_link_error_leaves_calls_to_messages_of_their_own(runner: Runner, failing: str) -> None:
    """A `link_error` callback has no `link_error` of its own: if its worker dies in a call, only the lease shows it."""
    World.failures[failing] = [Crash() if failing == "charge before" else SoldOut("no")]
    row = Started().start()
    with contextlib.suppress(Crash):
        while not runner.errbacks:
            runner.deliver()
    runner.lose_messages()
    calls = list(World.calls)
    tasks.compensate.run(str(row.id), 1)
    assert World.calls == calls
    assert runner.chains[0][0][0].endswith("charge" if failing == "charge before" else "give_back")
    runner.run_to_end()
    assert saga_of(row).status == (Status.COMPLETED if failing == "charge before" else Status.COMPENSATED)


def test_a_failure_whose_link_error_is_lost_is_undone_by_the_sweep(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    row = Started().start()
    while not runner.errbacks:
        runner.deliver()
    runner.lose_messages()
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPENSATED


def test_a_dead_worker_is_replaced_at_once_when_link_error_tells(runner: Runner) -> None:
    World.failures["charge before"] = [Crash()]
    row = Started().start()
    with pytest.raises(Crash):
        runner.run()
    decided = sweep.decide(row.id, 1)
    assert decided is not None
    assert (decided.lease_token, decided.dispatches) == (None, 1)


def test_a_message_delivered_again_takes_over_the_call_its_worker_died_in_while_running_ahead(runner: Runner) -> None:
    World.failures["charge before"] = [Crash()]
    row = Started().start()
    _, unacknowledged = runner.chains[0][0]
    with pytest.raises(Crash):
        runner.run()
    execution.process_message(unacknowledged, may_run=lambda _: True, is_redelivered=True)
    assert saga_of(row).status == Status.COMPLETED
    assert history(row.id).count("step_claimed charge") == 2
    assert list(World.charges.values()) == ["live"]


def test_a_saga_past_its_deadline_goes_back(runner: Runner) -> None:
    row = Started().start()
    runner.lose_messages()
    runner.let_pass(timedelta(minutes=6))
    runner.run_to_end()
    saga = saga_of(row)
    assert saga.status == Status.COMPENSATED
    assert saga.reason_code == "saga.deadline_exceeded"
    assert saga.reason == "toy did not get past look in 0:05:00."


def test_the_deadline_ends_at_the_pivot(runner: Runner) -> None:
    World.failures["ring_bell"] = [RuntimeError("no bell")]
    row = Started().start()
    runner.run()
    runner.let_pass(timedelta(minutes=6))
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED


def test_a_database_error_in_a_step_is_retried(runner: Runner) -> None:
    World.failures["cook"] = [OperationalError("deadlock detected")]
    row = Started().start()
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED


def test_running_out_of_memory_is_a_failed_try_and_not_the_end_of_the_worker(runner: Runner) -> None:
    World.failures["cook"] = [MemoryError()]
    row = Started().start()
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED


# -- history --------------------------------------------------------------------------------------------------------
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


# -- what an operator settles by hand -------------------------------------------------------------------------------
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
    getattr(commands, act)(row.id, reason="rang by hand", actor="op")
    event = SagaEvent.objects.get(saga_id=row.id, action=action)
    assert (event.type, event.payload) == (type_, {"reason": "rang by hand"})
    assert (event.message, event.actor) == ("rang by hand", "op")


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


# -- a long queue ---------------------------------------------------------------------------------------------------
def test_messages_that_wait_longer_than_the_sweep_still_count(runner: Runner) -> None:
    """Every message is older than the last redispatch when a worker receives it; a backlog must not grow by itself."""
    row = Started().start()
    for _ in range(6):
        waiting = [list(chain) for chain in runner.chains]
        runner.let_pass(timedelta(seconds=61))
        runner.chains.clear()
        runner.chains.extend(waiting)
        before = saga_of(row).position
        runner.deliver()
        assert saga_of(row).position > before
        if saga_of(row).status == Status.COMPLETED:
            return


def test_a_saga_sent_again_from_a_backlog_does_everything_once(runner: Runner) -> None:
    row = Started().start()
    for _ in range(3):
        runner.let_pass(timedelta(seconds=61))
    assert len(runner.chains) == 4
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED
    assert effects(row.subject) == ["open_tab", "cook", "serve", "ring_bell"]
    assert World.calls.count("charge before") == 1
