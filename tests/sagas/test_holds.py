"""A dependency on hold: sagas stop before it without losing a try or their deadline, and go on when it is released."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from sagas.engine import commands, sweep
from sagas.engine.dispatch import StepMessage
from sagas.errors import AlreadyHeld, NotHeld, UnknownDependency
from sagas.failpoints import Failpoint, installed
from sagas.holds import holds
from sagas.machine.state import Row
from sagas.models import SagaDependency, SagaHold, SagaInstance
from sagas.statuses import Status
from sagas.storage import storage
from sagas.testing import Runner, done, history, undone
from tests.sagas.toy import STEPS, SoldOut, Started, World, saga_of

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)
BREAKER = {"BREAKER_FAILURES": 3, "BREAKER_WINDOW": timedelta(seconds=60), "BREAKER_PROBE": timedelta(seconds=30)}


def hold_the_bank() -> None:
    holds.hold_dependency("bank", reason="The bank is down", actor="op")


def release_the_bank(per_second: float | None = None) -> None:
    holds.release_dependency("bank", reason="It is back", actor="op", per_second=per_second)


def held_before_the_charge(runner: Runner) -> Row:
    hold_the_bank()
    row = Started().start()
    runner.run()
    return row


# -- stopping and going on ------------------------------------------------------------------------------------------
def test_a_saga_stops_before_a_call_that_uses_what_is_on_hold(runner: Runner) -> None:
    saga = saga_of(held_before_the_charge(runner))
    assert (saga.status, saga.held_by, saga.attempt) == (Status.STARTED, "bank", 0)
    assert saga.wake_at is not None
    assert not World.charges
    assert history(saga.id)[-1] == "held charge"
    assert not runner.chains


def test_a_released_saga_goes_on_and_ends(runner: Runner) -> None:
    row = held_before_the_charge(runner)
    release_the_bank()
    runner.let_pass(timedelta(seconds=2))
    runner.run()
    assert saga_of(row).status == Status.COMPLETED
    assert done(row.id) == STEPS
    assert "let_go" in history(row.id)


def test_the_deadline_stands_still_while_a_saga_is_held(runner: Runner) -> None:
    row = held_before_the_charge(runner)
    before = saga_of(row).deadline_at
    for _ in range(20):
        runner.let_pass(3 * MINUTE)
        runner.run()
    assert saga_of(row).status == Status.STARTED
    release_the_bank()
    runner.let_pass(timedelta(seconds=2))
    put_off = saga_of(row).deadline_at - before  # type: ignore[operator]
    assert 60 * MINUTE <= put_off <= 61 * MINUTE
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED


def test_no_try_is_spent_and_none_given_back_by_a_hold(runner: Runner) -> None:
    World.failures["charge before"] = [ConnectionError("reset")]
    row = Started().start()
    runner.run()
    hold_the_bank()
    runner.let_pass(timedelta(seconds=5))
    runner.run()
    assert (saga_of(row).held_by, saga_of(row).attempt) == ("bank", 1)
    release_the_bank()
    runner.let_pass(timedelta(seconds=2))
    runner.run()
    assert "step_claimed charge" in history(row.id)[-8:]
    assert saga_of(row).status == Status.COMPLETED
    assert World.calls.count("charge before") == 2


def test_an_undo_that_uses_what_is_on_hold_waits_too(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    hold_the_bank()
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    runner.run()
    saga = saga_of(row)
    assert (saga.status, saga.held_by, undone(row.id)) == (Status.CANCELLING, "bank", ["mute_bell"])
    runner.let_pass(timedelta(hours=3))
    release_the_bank()
    runner.run_to_end()
    runner.let_pass(timedelta(seconds=2))
    runner.run_to_end()
    assert saga_of(row).status == Status.CANCELLED
    assert undone(row.id) == ["mute_bell", "give_back", "throw_away", "close_tab"]


def test_what_waits_before_its_effect_can_be_cancelled_although_the_hold_goes_on(runner: Runner) -> None:
    row = held_before_the_charge(runner)
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    runner.run()
    saga = saga_of(row)
    assert (saga.status, saga.held_by, saga.held_since) == (Status.CANCELLED, "", None)
    assert undone(row.id) == ["throw_away", "close_tab"]


def test_cancelling_a_held_undo_keeps_it_waiting(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.during["charge after"] = hold_the_bank
    row = Started().start()
    runner.run()
    assert (saga_of(row).status, saga_of(row).held_by) == (Status.COMPENSATING, "bank")
    commands.cancel(row.id, reason_code="other", reason="x", actor="ann")
    runner.run()
    assert (saga_of(row).status, saga_of(row).held_by) == (Status.CANCELLING, "bank")
    release_the_bank()
    runner.let_pass(timedelta(seconds=2))
    runner.run_to_end()
    assert saga_of(row).status == Status.CANCELLED


def test_no_message_moves_a_saga_that_is_held(runner: Runner) -> None:
    row = held_before_the_charge(runner)
    saga = saga_of(row)
    for epoch in (saga.epoch - 1, saga.epoch):
        runner.chains.append([("tests.charge", StepMessage(row.id, saga.position, epoch))])
        assert sweep.decide(row.id, epoch) is None
    SagaHold.objects.update(released_at=storage().now(), released_by="op", per_second=1)
    runner.run()
    assert saga_of(row).held_by == "bank"
    assert not World.charges


def test_a_saga_past_its_deadline_goes_back_and_does_not_wait(runner: Runner) -> None:
    hold_the_bank()
    row = Started().start()
    runner.lose_messages()
    runner.let_pass(6 * MINUTE)
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPENSATED


def test_a_held_saga_survives_lost_messages_and_dead_sweeps(runner: Runner) -> None:
    row = held_before_the_charge(runner)
    release_the_bank()

    def die(point: Failpoint) -> None:
        if point is Failpoint.RESUME_COMMITTED:
            raise KeyboardInterrupt

    with installed(die), pytest.raises(KeyboardInterrupt):
        runner.let_pass(timedelta(seconds=2))
    runner.lose_messages()
    runner.run_to_end()
    assert saga_of(row).status == Status.COMPLETED


def test_held_sagas_go_on_at_the_pace_asked_for(runner: Runner) -> None:
    hold_the_bank()
    rows = [Started().start() for _ in range(12)]
    runner.run()
    release_the_bank(per_second=2)
    ended = []
    for _ in range(4):
        runner.let_pass(timedelta(seconds=2))
        runner.run()
        ended.append(SagaInstance.objects.filter(status=Status.COMPLETED).count())
    assert ended == [4, 8, 12, 12]
    first = [row.id for row in rows[:4]]
    assert set(SagaInstance.objects.order_by("finished_at").values_list("id", flat=True)[:4]) == set(first)


def test_a_pace_of_one_in_a_while_is_kept(runner: Runner) -> None:
    hold_the_bank()
    for _ in range(2):
        Started().start()
    runner.run()
    release_the_bank(per_second=0.02)
    left = []
    for _ in range(12):
        runner.let_pass(timedelta(seconds=10))
        runner.run()
        left.append(SagaInstance.objects.exclude(held_by="").count())
    assert left == [2, 2, 2, 2, 1, 1, 1, 1, 1, 0, 0, 0]


def test_a_pause_of_the_sweep_does_not_become_a_flood(runner: Runner) -> None:
    hold_the_bank()
    for _ in range(15):
        Started().start()
    runner.run()
    release_the_bank(per_second=1)
    runner.let_pass(timedelta(hours=1))
    assert SagaInstance.objects.exclude(held_by="").count() == 5


def test_a_second_hold_stops_the_ramp_of_the_first(runner: Runner) -> None:
    hold_the_bank()
    for _ in range(6):
        Started().start()
    runner.run()
    release_the_bank(per_second=1)
    runner.let_pass(timedelta(seconds=2))
    hold_the_bank()
    runner.let_pass(MINUTE)
    runner.run()
    assert SagaInstance.objects.filter(held_by="bank").count() == 6
    assert not World.charges


def test_a_dependency_is_held_once_and_released_once(runner: Runner) -> None:
    hold_the_bank()
    with pytest.raises(AlreadyHeld, match="The bank is down"):
        hold_the_bank()
    release_the_bank()
    with pytest.raises(NotHeld):
        release_the_bank()
    with pytest.raises(UnknownDependency, match="steps use bank"):
        holds.hold_dependency("bnak", reason="typo", actor="op")
    kept = SagaHold.objects.get()
    assert (kept.actor, kept.reason, kept.released_by, kept.release_reason) == (
        "op", "The bank is down", "op", "It is back",
    )  # fmt: skip


def test_holds_are_read_once_a_second_and_only_before_a_call_that_uses_something(runner: Runner) -> None:
    row = Started().start()
    with CaptureQueriesContext(
        connection,
    ) as asked:
        runner.run()
    assert saga_of(row).status == Status.COMPLETED
    about_holds = [q["sql"] for q in asked.captured_queries if "sagahold" in q["sql"] or "sagadependency" in q["sql"]]
    assert len(about_holds) == 2, "what is on hold, and what fails"


# -- the circuit breaker --------------------------------------------------------------------------------------------
def broken(runner: Runner, count: int = 3) -> list[Row]:
    """So many sagas whose charge failed, in a row."""
    World.failures["charge before"] = [ConnectionError("reset")] * 1000
    rows = [Started().start() for _ in range(count)]
    runner.run()
    return rows


@override_settings(SAGAS=BREAKER)
def test_troubles_in_a_row_put_a_dependency_on_hold(runner: Runner) -> None:
    rows = broken(runner)
    hold = SagaHold.objects.get()
    assert (hold.is_automatic, hold.actor, hold.released_at) == (True, holds.BREAKER, None)
    assert "ConnectionError: reset" in hold.reason
    runner.let_pass(timedelta(seconds=5))
    runner.run()
    assert {saga_of(row).held_by for row in rows} == {"bank"}
    assert World.calls.count("charge before") == 3


@override_settings(SAGAS=BREAKER)
def test_an_answer_or_a_refusal_in_between_starts_the_count_again(runner: Runner) -> None:
    for failures in ([ConnectionError("x")] * 2, [SoldOut("no")], [ConnectionError("x")] * 2):
        World.failures["charge before"] = list(failures)
        for _ in failures:
            Started().start()
        runner.run()
    assert not SagaHold.objects.exists()


@override_settings(SAGAS=BREAKER)
def test_troubles_far_apart_are_not_an_outage(runner: Runner) -> None:
    for _ in range(4):
        broken(runner, 1)
        SagaInstance.objects.all().delete()
        runner.let_pass(timedelta(seconds=40))
    assert not SagaHold.objects.exists()


@override_settings(SAGAS=BREAKER | {"BREAKER_FAILURES": 0})
def test_the_breaker_can_be_switched_off(runner: Runner) -> None:
    broken(runner, 20)
    assert not SagaHold.objects.exists()
    assert not SagaDependency.objects.exists()


@override_settings(SAGAS=BREAKER)
def test_one_saga_probes_and_its_success_lets_all_go(runner: Runner) -> None:
    rows = broken(runner)
    runner.let_pass(timedelta(seconds=10))
    runner.run()
    World.failures.clear()
    runner.let_pass(timedelta(seconds=15))
    assert not runner.chains, "not yet"
    runner.let_pass(timedelta(seconds=10))
    runner.run()
    assert SagaInstance.objects.filter(status=Status.COMPLETED).count() == 1
    hold = SagaHold.objects.get()
    assert (hold.released_by, hold.released_at is None) == (holds.BREAKER, False)
    runner.let_pass(timedelta(seconds=2))
    runner.run()
    assert {saga_of(row).status for row in rows} == {Status.COMPLETED}


@override_settings(SAGAS=BREAKER)
def test_probes_that_fail_spend_no_tries_and_come_less_often(runner: Runner) -> None:
    rows = broken(runner)
    for _ in range(120):
        runner.let_pass(timedelta(seconds=30))
        runner.run()
    assert {(saga_of(row).status, saga_of(row).attempt) for row in rows} == {(Status.STARTED, 1)}
    assert 3 + 10 <= World.calls.count("charge before") <= 3 + 16, "an hour of probes"
    World.failures.clear()
    for _ in range(12):
        runner.let_pass(timedelta(seconds=30))
        runner.run()
    assert {saga_of(row).status for row in rows} == {Status.COMPLETED}


@override_settings(SAGAS=BREAKER)
def test_a_probe_that_was_never_tried_counts_as_tried_once(runner: Runner) -> None:
    broken(runner)
    late = Started().start()
    runner.run()
    assert (saga_of(late).held_by, saga_of(late).attempt) == ("bank", 0)
    for _ in range(20):
        runner.let_pass(timedelta(seconds=60))
        runner.run()
    assert saga_of(late).attempt == 1
    assert saga_of(late).error == "ConnectionError: reset"
    commands.cancel(late.id, reason_code="other", reason="x", actor="ann")
    runner.run()
    assert saga_of(late).held_by == "bank", "its undo runs, for the call may have had its effect"


@override_settings(SAGAS=BREAKER)
def test_a_probe_that_comes_to_nothing_is_followed_by_another(runner: Runner) -> None:
    rows = broken(runner)
    runner.let_pass(timedelta(seconds=10))
    runner.run()
    World.failures.clear()
    runner.let_pass(timedelta(seconds=25))
    probe = SagaHold.objects.get().probe_saga_id
    assert probe in {row.id for row in rows}
    runner.lose_messages()
    SagaInstance.objects.filter(pk=probe).delete()
    runner.let_pass(timedelta(seconds=61))
    runner.run()
    assert SagaHold.objects.get().released_at is not None


@override_settings(SAGAS=BREAKER)
def test_calls_whose_worker_never_answers_count_as_failures(runner: Runner) -> None:
    World.failures["charge before"] = [KeyboardInterrupt()] * 3
    for _ in range(3):
        Started().start()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            runner.run()
    runner.let_pass(timedelta(seconds=16))
    assert SagaHold.objects.get().is_automatic
    assert "No answer from charge (try 1); its outcome is unknown." in SagaHold.objects.get().reason


@override_settings(SAGAS=BREAKER)
def test_an_operator_takes_an_automatic_hold_over(runner: Runner) -> None:
    broken(runner)
    hold_the_bank()
    assert storage().active_hold("bank").is_automatic is False  # type: ignore[union-attr]
    assert SagaHold.objects.count() == 2
    World.failures.clear()
    for _ in range(20):
        runner.let_pass(MINUTE)
        runner.run()
    assert World.calls.count("charge before") == 3, "nobody probes what a person has put on hold"
