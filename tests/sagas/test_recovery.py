"""Crashes, lost and doubled messages, dead workers, deadlines and long queues: nothing is lost or done twice."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from django.db import OperationalError

from sagas import tasks
from sagas.engine import commands, execution, sweep
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import Status
from sagas.testing import Runner, done, history, undone
from tests.sagas.toy import STEPS, Crash, SoldOut, Started, World, effects, saga_of

pytestmark = pytest.mark.django_db(transaction=True)


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


# -- a long queue --
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
