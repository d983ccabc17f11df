"""What can be asked about sagas: where one stands, those of a subject, and what may still happen."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

import sagas
from sagas.engine import commands, queries
from sagas.errors import UnknownSaga
from sagas.holds import holds
from sagas.models import SagaInstance
from sagas.statuses import Direction, Phase, Status
from sagas.storage import storage
from sagas.testing import Runner
from tests.sagas.toy import SoldOut, Started, World
from timers.clock import database_now

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_saga_that_waits_says_where_it_stands_and_what_for(runner: Runner) -> None:
    holds.hold_dependency("bank", reason="down", actor="op")
    row = Started().start()
    runner.run()
    saga = queries.find(row.id)
    assert (saga.id, saga.name, saga.version, saga.key) == (row.id, "toy", 1, f"toy:{row.subject}")
    assert (saga.subject, saga.owner) == (row.subject, "ann")
    assert (saga.status, saga.direction, saga.phase) == (Status.STARTED, Direction.FORWARD, Phase.HELD)
    assert (saga.step, saga.waits_for) == ("charge", "bank")
    assert saga.next_at == SagaInstance.objects.get(pk=row.id).wake_at
    assert saga.finished_at is None
    assert saga.is_open
    assert saga.is_unsettled


def test_a_saga_that_failed_says_why_and_who_cancelled_it(runner: Runner) -> None:
    World.failures["serve"] = [SoldOut("no")]
    World.failures["give_back"] = [RuntimeError("down")]
    row = Started().start()
    runner.run()
    commands.cancel(row.id, reason_code="other", reason="in a hurry", actor="ann")
    saga = queries.find(row.id)
    assert (saga.status, saga.direction, saga.step) == (Status.CANCELLING, Direction.BACK, "give_back")
    assert (saga.reason_code, saga.reason, saga.actor) == ("other", "in a hurry", "ann")
    assert saga.error == "RuntimeError: down"
    runner.run_to_end()
    ended = queries.find(row.id)
    assert (ended.status, ended.step, ended.next_at) == (Status.CANCELLED, "", None)
    assert ended.finished_at is not None
    assert not ended.is_unsettled


def test_a_parked_saga_is_not_open_but_unsettled_and_says_when_it_is_retried(runner: Runner) -> None:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 4
    row = Started().start()
    runner.run_to_end()
    saga = queries.find(row.id)
    assert (saga.is_open, saga.is_unsettled) == (False, True)
    assert saga.next_at == SagaInstance.objects.get(pk=row.id).retry_at
    assert [found.id for found in sagas.unsettled(row.subject)] == [row.id]


def test_there_is_no_state_of_an_unknown_saga() -> None:
    with pytest.raises(UnknownSaga):
        queries.find(uuid.uuid4())


def test_the_sagas_of_a_subject_can_be_narrowed_to_some_definitions(runner: Runner) -> None:
    row = Started().start()
    assert [saga.id for saga in queries.of_subject(row.subject)] == [row.id]
    assert [saga.id for saga in queries.of_subject(row.subject, names=("toy", "other"))] == [row.id]
    assert queries.of_subject(row.subject, names=("other",)) == []
    assert queries.of_subject("somebody else's") == []
    runner.run()
    assert queries.unsettled(row.subject) == []


def test_a_saga_has_time_until_its_deadline_and_always_while_it_waits(runner: Runner) -> None:
    in_time, late, without, waiting, going_back = (Started().start() for _ in range(5))
    past = storage().now() - timedelta(minutes=1)
    for row, changes in (
        (late, {"deadline_at": past}),
        (without, {"deadline_at": None}),
        (waiting, {"deadline_at": past, "held_by": "bank", "held_since": past, "phase": Phase.HELD}),
        (going_back, {"status": Status.COMPENSATING, "direction": Direction.BACK}),
    ):
        SagaInstance.objects.filter(pk=row.id).update(**changes)
    found = {entry["id"] for entry in queries.within_deadline(database_now())}
    assert found == {in_time.id, without.id, waiting.id}


def test_what_was_settled_by_hand_is_known(runner: Runner) -> None:
    World.failures["ring_bell"] = [RuntimeError("no bell")] * 12
    skipped, closed, retried = (Started().start() for _ in range(3))
    runner.run_to_end()
    commands.skip(skipped.id, reason="x", actor="op")
    commands.close(closed.id, reason="x", actor="op")
    World.failures.clear()
    commands.retry(retried.id, reason="x", actor="op")
    assert {entry["saga_id"] for entry in queries.settled_by_hand()} == {skipped.id, closed.id}
