"""What needs attention is tried again by itself a few times, later and later, unless that cannot help."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import override_settings

from sagas.definition import registry
from sagas.engine import commands, representation, sweep
from sagas.failpoints import Failpoint, installed
from sagas.machine.state import Row
from sagas.models import SagaEvent
from sagas.statuses import Status
from sagas.storage import storage
from sagas.testing import Runner, undone
from sagas.testing import history as lines
from tests.sagas.toy import SoldOut, Started, World, saga_of, toy

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


def parked(runner: Runner, times: int = 4) -> Row:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * times
    row = Started().start()
    runner.run_to_end()
    assert saga_of(row).status == Status.NEEDS_ATTENTION
    return row


def pass_and_run(runner: Runner, duration: timedelta) -> None:
    runner.let_pass(duration)
    runner.run_to_end()


def test_a_parked_saga_is_retried_by_itself_and_says_when(runner: Runner) -> None:
    row = parked(runner)
    due_at = representation.next_auto_retry_at(saga_of(row))
    assert due_at is not None
    assert 4 * MINUTE < due_at - storage().now() <= 5 * MINUTE
    pass_and_run(runner, 4 * MINUTE)
    assert saga_of(row).status == Status.NEEDS_ATTENTION, "not before its time"
    pass_and_run(runner, 2 * MINUTE)
    saga = saga_of(row)
    assert (saga.status, saga.retry_at, saga.auto_retries) == (Status.COMPLETED, None, 0)
    event = SagaEvent.objects.get(saga_id=row.id, action="auto_retried")
    assert (event.step, event.message, event.actor) == ("ring_bell", "Automatic retry 1 of 5", "")


def test_the_delays_grow_and_the_last_failure_waits_for_a_person(runner: Runner) -> None:
    row = parked(runner, times=1000)
    waits = []
    for _ in range(5):
        due_at = saga_of(row).retry_at
        assert due_at is not None
        waits.append(round((due_at - saga_of(row).updated_at) / MINUTE))
        pass_and_run(runner, due_at - storage().now() + timedelta(seconds=1))
    assert waits == [5, 30, 120, 480, 1440]
    assert (saga_of(row).status, saga_of(row).retry_at) == (Status.NEEDS_ATTENTION, None)
    pass_and_run(runner, timedelta(days=30))
    assert saga_of(row).status == Status.NEEDS_ATTENTION
    assert World.calls.count("ring_bell") == 4 * 6
    commands.retry(row.id, reason="x", actor="op")
    runner.run_to_end()
    assert saga_of(row).retry_at is not None, "a person's retry starts the count again"


def test_a_parked_undo_is_retried_too(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.failures["give_back"] = [RuntimeError("down")] * 4
    row = Started().start()
    runner.run_to_end()
    assert saga_of(row).status == Status.NEEDS_ATTENTION
    pass_and_run(runner, 6 * MINUTE)
    assert saga_of(row).status == Status.COMPENSATED
    assert undone(row.id) == ["give_back", "throw_away", "close_tab"]


@pytest.mark.parametrize("act", ["retry", "skip", "close", "cancel"])
def test_what_a_person_does_comes_first(runner: Runner, act: str) -> None:
    row = parked(runner)
    if act == "cancel":
        commands.cancel(row.id, reason_code="other", reason="x", actor="op")
    else:
        getattr(commands, act)(row.id, reason="x", actor="op")
    assert saga_of(row).retry_at is None
    runner.run_to_end()
    pass_and_run(runner, timedelta(days=3))
    assert saga_of(row).status in {Status.COMPLETED, Status.CANCELLED}
    assert "auto_retried ring_bell" not in lines(row.id)


def test_a_refusal_stays_one(runner: Runner) -> None:
    World.failures["ring_bell"] = [SoldOut("There is no bell.")]
    row = Started().start()
    runner.run_to_end()
    assert (saga_of(row).status, saga_of(row).retry_at) == (Status.NEEDS_ATTENTION, None)


def test_a_refused_undo_stays_refused(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.failures["give_back"] = [SoldOut("never")]
    row = Started().start()
    runner.run_to_end()
    assert (saga_of(row).status, saga_of(row).retry_at) == (Status.NEEDS_ATTENTION, None)


def test_what_kills_every_worker_is_not_tried_on_more_of_them(runner: Runner) -> None:
    World.failures["ring_bell"] = [KeyboardInterrupt()] * 1000
    row = Started().start()
    for _ in range(60):
        try:
            runner.run_to_end()
        except KeyboardInterrupt:
            runner.lose_messages()
    assert (saga_of(row).status, saga_of(row).retry_at) == (Status.NEEDS_ATTENTION, None)


def test_an_undo_that_kills_every_worker_waits_for_a_person(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.failures["throw_away"] = [KeyboardInterrupt()] * 1000
    row = Started().start()
    for _ in range(60):
        try:
            runner.run_to_end()
        except KeyboardInterrupt:
            runner.lose_messages()
    assert (saga_of(row).status, saga_of(row).retry_at) == (Status.NEEDS_ATTENTION, None)


@override_settings(SAGAS={"AUTO_RETRY_DELAYS": ()})
def test_it_can_be_switched_off(runner: Runner) -> None:
    row = parked(runner)
    pass_and_run(runner, timedelta(days=3))
    assert saga_of(row).status == Status.NEEDS_ATTENTION


def test_a_definition_that_is_not_known_here_is_left_for_who_knows_it(runner: Runner) -> None:
    row = parked(runner)
    registry.unregister(toy)
    runner.let_pass(6 * MINUTE)
    assert saga_of(row).status == Status.NEEDS_ATTENTION
    registry.register(toy)
    pass_and_run(runner, 2 * MINUTE)
    assert saga_of(row).status == Status.COMPLETED


def test_a_sweep_that_dies_after_sending_it_on_loses_nothing(runner: Runner) -> None:
    row = parked(runner)

    def die(point: Failpoint) -> None:
        if point is Failpoint.AUTO_RETRY_COMMITTED:
            raise KeyboardInterrupt

    with installed(die), pytest.raises(KeyboardInterrupt):
        runner.let_pass(6 * MINUTE)
    assert not runner.chains
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED


def test_two_sweeps_send_it_on_once(runner: Runner) -> None:
    row = parked(runner)
    runner.let_pass(6 * MINUTE)
    sweep.sweep()
    runner.run_to_end()
    assert lines(row.id).count("auto_retried ring_bell") == 1


def test_the_terminal_tells_when(runner: Runner) -> None:
    row = parked(runner)
    out = StringIO()
    call_command("sagas", "list", stdout=out)
    call_command("sagas", "show", str(row.id), stdout=out)
    assert out.getvalue().count("retried by itself at") == 2
