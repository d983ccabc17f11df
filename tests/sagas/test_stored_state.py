"""Where a saga stands is stored; of rows that a process of the release before wrote it is inferred, and rightly so."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from sagas.definition import registry
from sagas.engine import commands
from sagas.failpoints import Failpoint
from sagas.machine.state import Row
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import Direction, Phase, Status
from sagas.storage import legacy, storage
from sagas.testing import Runner
from tests.sagas import toy
from tests.sagas.test_crash_points import SCENARIOS, Crasher, Life
from tests.sagas.toy import Started

pytestmark = pytest.mark.django_db(transaction=True)

#: Columns that the release before does not write, and what it leaves in them.
NEW_COLUMNS: dict[str, Any] = {
    "direction": "FORWARD", "phase": "READY", "may_have_run": False, "actor": "", "cancel_key": "", "state_seq": 0,
}  # fmt: skip
TABLE = "sagas_sagainstance"


@contextmanager
def as_the_release_before_writes_it(row: Row) -> Iterator[Row]:
    """The row read again as if a process of that release had written it last; nothing of that stays."""
    with transaction.atomic():
        SagaInstance.objects.filter(pk=row.id).update(**NEW_COLUMNS, data=legacy.data(row))
        old = storage().read(row.id)
        assert old is not None
        yield old
        transaction.set_rollback(True)


def state_of(row: Row) -> dict[str, Any]:
    """What is stored, and what the release before can tell apart of it."""
    saga = registry.get(row.name, row.version)
    is_at_call = 0 <= row.position < len(saga.steps) and saga.steps[row.position].is_remote
    could_be_retrying = row.attempt > 0 and row.dispatches == 0 and row.phase is Phase.READY
    return {
        "direction": row.direction,
        "phase": Phase.RETRYING if could_be_retrying else row.phase,
        "may_have_run": row.may_have_run and is_at_call and not row.is_going_back,
        "actor": row.actor if Status.CANCELLING in (row.status, row.resume_status) else "",
        "cancel_key": row.cancel_key,
        "data": row.data,
    }


@dataclass
class Comparer(Crasher):
    """At every boundary with no transaction open, compares the newest row with what is inferred of it."""

    seen: set[tuple[Any, ...]] = field(default_factory=set)

    def __call__(self, point: Failpoint) -> None:
        if not storage().is_in_transaction:
            for saga_id in SagaInstance.objects.order_by("-created_at").values_list("pk", flat=True)[:1]:
                self.compare(saga_id)
        super().__call__(point)

    def compare(self, saga_id: uuid.UUID) -> None:
        row = storage().read(saga_id)
        assert row is not None
        with as_the_release_before_writes_it(row) as old:
            assert state_of(old) == state_of(row)
        self.seen.add((row.status, row.direction, row.phase, row.may_have_run))


@pytest.mark.embedded
def test_what_is_inferred_is_what_is_stored_wherever_a_saga_may_stand() -> None:
    seen: set[tuple[Any, ...]] = set()
    for scenario in SCENARIOS.values():
        count = len(_live(scenario, ()).passed)
        for number in range(count):
            seen |= _live(scenario, (number,)).seen
    phases = {(direction, phase) for _, direction, phase, _ in seen}
    busy = {Phase.READY, Phase.RUNNING, Phase.HELD, Phase.DONE}
    assert phases >= {(direction, phase) for direction in Direction for phase in busy}
    assert {may_have_run for *_, may_have_run in seen} == {True, False}


def _live(scenario: Any, at: tuple[int, ...]) -> Comparer:
    comparer = Comparer(at)
    Life(scenario, comparer, is_redelivered=True).live()
    return comparer


def test_a_cancellation_of_the_release_before_keeps_its_key_and_who_asked(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    commands.cancel(row.id, reason_code="x", reason="x", actor="ann", request_key="ann:1")
    _written_by_the_release_before(row.id, {"cancel_key": "ann:1"})
    again = commands.cancel(row.id, reason_code="x", reason="x", actor="ann", request_key="ann:1")
    assert again.status == "CANCELLING"
    old = storage().read(row.id)
    assert old is not None
    assert (old.actor, old.cancel_key, old.direction) == ("ann", "ann:1", Direction.BACK)
    runner.run_to_end()
    row_now = storage().read(row.id)
    assert row_now is not None
    assert (row_now.status, row_now.actor) == (Status.CANCELLED, "ann")


def test_what_the_release_before_needs_is_written_for_it(runner: Runner) -> None:
    row = Started().start()
    runner.run()
    commands.cancel(row.id, reason_code="x", reason="x", actor="ann", request_key="ann:1")
    stored = SagaInstance.objects.get(pk=row.id)
    assert stored.data["cancel_key"] == "ann:1"
    read = storage().read(row.id)
    assert read is not None
    assert "cancel_key" not in read.data, "it is none of the saga's data"


def _written_by_the_release_before(saga_id: uuid.UUID, keys: dict[str, Any]) -> None:
    saga = SagaInstance.objects.get(pk=saga_id)
    SagaInstance.objects.filter(pk=saga_id).update(**NEW_COLUMNS, data=saga.data | keys)


@pytest.mark.parametrize(
    "changes",
    [{"phase": "RUNNING"}, {"phase": "DONE"}, {"phase": "PARKED"}, {"phase": "HELD"}, {"phase": "LOST"},
     {"direction": "BACK"}, {"direction": "UP"}],
    ids=str,
)  # fmt: skip
def test_no_row_can_say_two_things_about_where_it_stands(changes: dict[str, str], runner: Runner) -> None:
    row = Started().start()
    with pytest.raises(IntegrityError), transaction.atomic():
        SagaInstance.objects.filter(pk=row.id).update(**changes)


# -- the migration --------------------------------------------------------------------------------------------------
#: Rows as the release before leaves them: what differs from a saga that has just started, and what becomes of it.
OLD_ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "started": ({}, {"direction": "FORWARD", "phase": "READY", "may_have_run": False}),
    "a call in flight": (
        {"attempt": 1, "lease_token": 7, "lease_until": timezone.now()},
        {"phase": "RUNNING", "may_have_run": False},
    ),
    "a call taken over": (
        {"attempt": 2, "lease_token": 7, "lease_until": timezone.now()},
        {"phase": "RUNNING", "may_have_run": True},
    ),
    "retrying": ({"attempt": 1}, {"phase": "RETRYING", "may_have_run": True}),
    "sent again after a try": ({"attempt": 1, "drives": 2}, {"phase": "READY", "may_have_run": True}),
    "held": ({"held_by": "bank", "held_since": timezone.now()}, {"phase": "HELD", "may_have_run": False}),
    "parked at a call": (
        {"status": "NEEDS_ATTENTION", "resume_status": "STARTED", "error": "x", "wake_at": None, "attempt": 4},
        {"direction": "FORWARD", "phase": "PARKED", "may_have_run": True},
    ),
    "sent on by an operator": (
        {"data": {"input": {}, "tried_before_parking": 3}},
        {"phase": "READY", "may_have_run": True, "deadline_at": None},
    ),
    "past the call an operator sent on": (
        {"data": {"input": {}, "tried_before_parking": 2}},
        {"phase": "READY", "may_have_run": False},
    ),
    "going back": ({"status": "COMPENSATING"}, {"direction": "BACK", "phase": "READY", "may_have_run": False}),
    "cancelling": (
        {"status": "CANCELLING", "data": {"input": {}, "cancel_key": "ann:1"}},
        {"direction": "BACK", "actor": "ann", "cancel_key": "ann:1"},
    ),
    "parked while going back": (
        {"status": "NEEDS_ATTENTION", "resume_status": "CANCELLING", "error": "x", "wake_at": None},
        {"direction": "BACK", "phase": "PARKED", "actor": "ann"},
    ),
    "completed": (
        {"status": "COMPLETED", "wake_at": None, "finished_at": timezone.now(), "attempt": 1},
        {"direction": "FORWARD", "phase": "DONE", "may_have_run": False},
    ),
    "failed": (
        {"status": "FAILED", "wake_at": None, "finished_at": timezone.now()}, {"direction": "BACK", "phase": "DONE"},
    ),
}  # fmt: skip


def migrate(to: str) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([("sagas", to)])


@pytest.fixture
def the_schema_before() -> Iterator[None]:
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes("sagas")
    migrate("0006_idempotency_keys")
    yield
    MigrationExecutor(connection).migrate(latest)


def test_sagas_that_are_there_are_migrated(the_schema_before: None) -> None:
    ids = {name: _insert_old(changes) for name, (changes, _) in OLD_ROWS.items()}
    migrate("0009_check_stored_state")
    for name, (_, expected) in OLD_ROWS.items():
        saga = SagaInstance.objects.values(*expected, "state_seq", "seq").get(pk=ids[name])
        assert {column: saga[column] for column in expected} == expected, name
        assert saga["state_seq"] == saga["seq"], name
    _insert_old({"status": "STARTED"})  # a process of the release before goes on


def _insert_old(changes: dict[str, Any]) -> uuid.UUID:
    saga_id, now = uuid.uuid4(), timezone.now()
    columns = {
        "id": saga_id, "name": toy.toy.name, "version": 1, "key": saga_id.hex, "subject": "o", "owner": "",
        "status": "STARTED", "resume_status": "", "position": 3, "epoch": 1, "attempt": 0, "drives": 0, "seq": 5,
        "data": {"input": {}}, "reason_code": "", "reason": "", "error": "", "lease_token": None, "lease_until": None,
        "wake_at": now, "deadline_at": now, "held_by": "", "held_since": None, "retry_at": None, "auto_retries": 0,
        "created_at": now, "updated_at": now, "finished_at": None,
    } | changes  # fmt: skip
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} ({names}) VALUES ({', '.join(['%s'] * len(columns))})",
            [_plain(value) for value in columns.values()],
        )
    if "CANCELLING" in (columns["status"], columns["resume_status"]):
        SagaEvent.objects.create(
            saga_id=saga_id, seq=1, action="cancellation_started", status="CANCELLING", actor="ann", epoch=2,
            position=3, saga_status="CANCELLING", created_at=now,
        )  # fmt: skip
    return saga_id


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, uuid.UUID):
        return value if connection.vendor == "postgresql" else value.hex
    return value
