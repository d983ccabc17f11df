"""The sweep and the automatic retry: which sagas they take, in which order, and what they leave to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test import override_settings

from sagas.engine import commands, sweep
from sagas.holds import holds
from sagas.machine.state import Row
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import Action
from sagas.storage import storage
from sagas.storage.sql import RESYNC_SECONDS, SqlStorage
from sagas.testing import Runner, history
from tests.sagas.toy import Started, World, saga_of

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)
ONE_AT_A_TIME = override_settings(SAGAS={"SWEEP_BATCH_SIZE": 1})


def overdue(*, by: timedelta) -> Row:
    """A saga whose message is lost, and which the sweep should have seen that long ago."""
    row = Started().start()
    SagaInstance.objects.filter(pk=row.id).update(wake_at=storage().now() - by)
    return row


def parked(runner: Runner) -> Row:
    """A saga that needs attention and is due to be retried automatically."""
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 4
    row = Started().start()
    runner.run_to_end()
    make_due(row, since=MINUTE)
    return row


def make_due(row: Row, *, since: timedelta) -> None:
    SagaInstance.objects.filter(pk=row.id).update(retry_at=storage().now() - since)


def ids(rows: list[Row]) -> list[object]:
    return [row.id for row in rows]


# -- order and waits ------------------------------------------------------------------------------------------------
@ONE_AT_A_TIME
def test_the_saga_that_is_overdue_longest_is_swept_first(runner: Runner) -> None:
    later, first = overdue(by=MINUTE), overdue(by=2 * MINUTE)
    assert [ids(sweep.sweep_batch()) for _ in range(3)] == [[first.id], [later.id], []]


@ONE_AT_A_TIME
def test_the_saga_that_is_parked_longest_is_retried_first(runner: Runner) -> None:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 8
    later, first = Started().start(), Started().start()
    runner.run_to_end()
    make_due(later, since=MINUTE)
    make_due(first, since=2 * MINUTE)
    assert [ids(sweep.retry_parked()) for _ in range(3)] == [[first.id], [later.id], []]


def test_the_wait_between_two_dispatches_grows_up_to_a_minute(runner: Runner) -> None:
    row = Started().start()
    waits = []
    for _ in range(6):
        runner.lose_messages()
        SagaInstance.objects.filter(pk=row.id).update(wake_at=storage().now(), deadline_at=None)
        (sent,) = sweep.sweep_batch()
        assert sent.wake_at is not None
        waits.append((sent.wake_at - sent.now).total_seconds())
    assert waits == [15.0, 22.5, 33.75, 50.625, 60.0, 60.0]


def test_a_step_leaves_the_moment_of_the_next_look_as_it_is_while_that_is_far_off(transactional_db: None) -> None:
    """It is in an index; most steps change no indexed column."""
    with Runner(run_inline=False) as runner:
        row = Started().start()
        before = saga_of(row).wake_at
        runner.deliver()
        assert (saga_of(row).position, saga_of(row).wake_at) == (2, before)


def test_a_saga_whose_last_message_is_lost_is_given_up_after_the_last_dispatch(runner: Runner) -> None:
    row = Started().start()
    SagaInstance.objects.filter(pk=row.id).update(dispatches=23, deadline_at=None, wake_at=storage().now())
    assert ids(sweep.sweep_batch()) == [row.id]
    assert saga_of(row).status == "STARTED"
    SagaInstance.objects.filter(pk=row.id).update(wake_at=storage().now())
    sweep.sweep_batch()
    assert (saga_of(row).status, saga_of(row).reason_code) == ("COMPENSATING", "saga.no_progress")


def test_a_saga_of_another_release_is_left_to_it_and_keeps_no_other_back(runner: Runner) -> None:
    foreign, known = overdue(by=2 * MINUTE), overdue(by=MINUTE)
    SagaInstance.objects.filter(pk=foreign.id).update(version=99)
    facts = history(foreign.id)
    assert ids(sweep.sweep_batch()) == [known.id]
    wait = saga_of(foreign).wake_at - storage().now()  # type: ignore[operator]
    assert timedelta(seconds=9) < wait <= timedelta(seconds=10)
    assert history(foreign.id) == facts


def test_a_saga_that_waits_for_a_dependency_is_looked_at_again_minutes_later(runner: Runner) -> None:
    holds.hold_dependency("bank", reason="down", actor="op")
    row = Started().start()
    runner.run()
    SagaInstance.objects.filter(pk=row.id).update(wake_at=storage().now())
    facts = history(row.id)
    assert sweep.sweep_batch() == []
    wait = saga_of(row).wake_at - storage().now()  # type: ignore[operator]
    assert 4.9 * MINUTE < wait <= 6 * MINUTE
    assert history(row.id) == facts
    holds.release_dependency("bank", reason="up", actor="op")
    runner.run_to_end()
    released = SagaEvent.objects.get(saga_id=row.id, action=Action.HOLD_ENDED)
    assert (released.step, released.status) == ("", "RELEASED")
    assert "bank" in released.message


# -- the clock ------------------------------------------------------------------------------------------------------
def test_a_jump_of_the_databases_clock_is_noticed_after_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Jumping(type(storage())):  # type: ignore[misc] # SQLite's or PostgreSQL's
        jump = timedelta(0)

        def now(self) -> datetime:
            return super().now() + self.jump

    steady = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: steady[0])
    place: SqlStorage = Jumping()
    before = place.recent_now()
    Jumping.jump = timedelta(hours=1)
    assert place.recent_now() == before
    steady[0] += RESYNC_SECONDS + 0.1
    assert place.recent_now() - before > timedelta(minutes=59)


# -- beside others --------------------------------------------------------------------------------------------------
@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Another process has done this and does not commit before the end of the block."""
    is_done, may_commit = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                work()
                is_done.set()
                may_commit.wait(30)
        finally:
            is_done.set()
            connection.close()

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert is_done.wait(30)
        yield
    finally:
        may_commit.set()
        other.join()


@pytest.mark.postgres
def test_a_saga_that_somebody_holds_keeps_no_other_from_the_sweep(runner: Runner) -> None:
    held, free = overdue(by=2 * MINUTE), overdue(by=MINUTE)
    with meanwhile(lambda: storage().lock(held.id)):
        assert ids(sweep.sweep_batch()) == [free.id]


@pytest.mark.postgres
def test_of_two_automatic_retries_one_sends_a_saga_on(runner: Runner) -> None:
    row = parked(runner)
    with meanwhile(sweep.retry_parked):
        assert sweep.retry_parked() == []
    assert history(row.id).count("auto_retried ring_bell") == 1


@pytest.mark.postgres
def test_a_saga_that_an_operator_sends_on_is_not_retried_automatically(runner: Runner) -> None:
    row = parked(runner)
    with meanwhile(lambda: commands.retry(row.id, reason="bell repaired", actor="op")):
        assert sweep.retry_parked() == []
    assert "auto_retried ring_bell" not in history(row.id)
