"""What the engine relies on in a storage, asked of each: the database of this test environment, and memory."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError

from sagas.machine.state import Event, Row
from sagas.statuses import Action, Direction, Phase, Status
from sagas.storage import Hold, Storage, clock, storage, use
from sagas.storage.memory import MemoryStorage
from sagas.testing import Runner, history
from tests.sagas.toy import SoldOut, Started, World

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)
FACT = Event(Action.STEP_COMPLETED, "cook", "COMPLETED", "Cook completed", "soup.cooked", {"bowls": 2}, attempt=1)


@pytest.fixture(params=["database", "memory"])
def place(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Storage]:
    with clock.moved():
        if request.param == "database":
            yield storage()
        else:
            with use(MemoryStorage()) as memory:
                yield memory


def a_row(place: Storage, **changes: Any) -> Row:
    now = place.now()
    saga_id = place.new_id()
    columns: dict[str, Any] = {
        "id": saga_id, "name": "toy", "version": 1, "key": saga_id.hex, "subject": "o-1", "owner": "ann",
        "status": Status.STARTED, "data": {"input": {"order_id": "o-1"}}, "now": now, "created_at": now,
        "wake_at": now - SECOND, "deadline_at": now + 60 * SECOND,
    }  # fmt: skip
    return Row(**columns | changes, pending_events=[Event(Action.STARTED, status="STARTED")])


def inserted(place: Storage, **changes: Any) -> Row:
    with place.atomic():
        row = a_row(place, **changes)
        assert place.insert(row)
    return row


def read(place: Storage, row: Row) -> Row:
    found = place.read(row.id)
    assert found is not None
    return found


# -- rows -----------------------------------------------------------------------------------------------------------
def test_a_row_is_read_as_it_was_written(place: Storage) -> None:
    row = inserted(
        place, direction=Direction.BACK, status=Status.CANCELLING, position=3, epoch=4, attempt=2, dispatches=5,
        may_have_run=True, reason_code="x", reason="y", error="z", actor="ann", cancel_key="ann:1", auto_retries=1,
    )  # fmt: skip
    found = read(place, row)
    ignored = {"now", "stored", "pending_events", "is_data_changed"}
    names = [name for name in Row.__slots__ if name not in ignored]
    assert {name: getattr(found, name) for name in names} == {name: getattr(row, name) for name in names}
    assert place.find_by_key(row.key) is not None
    assert [each.id for each in place.of_subject("o-1")] == [row.id]


def test_a_key_is_taken_once(place: Storage) -> None:
    row = inserted(place)
    with place.atomic():
        second = a_row(place, key=row.key)
        assert not place.insert(second)
    assert place.read(second.id) is None
    assert place.events_of(second.id) == []


def test_what_is_not_there_is_none(place: Storage) -> None:
    assert place.read(uuid.uuid4()) is None
    assert place.find_by_key("none") is None
    with place.atomic():
        assert place.lock(uuid.uuid4()) is None


def test_a_save_writes_what_changed_and_appends_its_events(place: Storage) -> None:
    row = inserted(place)
    with place.atomic():
        locked = place.lock(row.id)
        assert locked is not None
        locked.position, locked.status, locked.reason = 2, Status.COMPENSATING, "r"
        locked.direction = Direction.BACK
        locked.keep_result("cook", {"bowls": 2})
        locked.pending_events.append(FACT)
        place.save(locked)
    found = read(place, row)
    assert (found.position, found.status, found.reason, found.seq) == (2, Status.COMPENSATING, "r", 2)
    assert found.results == {"cook": {"bowls": 2}}
    stored = place.events_of(row.id)
    assert [(each.seq, each.event.action) for each in stored] == [(1, Action.STARTED), (2, Action.STEP_COMPLETED)]
    assert stored[1].event == FACT
    assert (stored[1].position, stored[1].epoch, stored[1].saga_status) == (2, 1, Status.COMPENSATING)


def test_what_was_read_is_a_copy(place: Storage) -> None:
    row = inserted(place)
    read(place, row).data["input"]["order_id"] = "changed"
    assert read(place, row).input == {"order_id": "o-1"}


MOVED: dict[str, Callable[[Row], None]] = {
    "another epoch": lambda row: setattr(row, "epoch", 2),
    "another position": lambda row: setattr(row, "position", 1),
    "another fact": lambda row: row.pending_events.append(FACT),
}


@pytest.mark.parametrize("name", MOVED)
def test_a_move_is_refused_after_somebody_else_moved(place: Storage, name: str) -> None:
    row = inserted(place)
    known = read(place, row)
    with place.atomic():
        locked = place.lock(row.id)
        assert locked is not None
        MOVED[name](locked)
        place.save(locked)
    before = read(place, row), place.events_of(row.id)
    with place.atomic():
        known.pending_events.append(FACT)
        assert not place.move(known, epoch=1, position=0)
    assert (read(place, row).seq, place.events_of(row.id)) == (before[0].seq, before[1])


def test_a_move_is_refused_while_a_call_is_in_flight(place: Storage) -> None:
    row = inserted(place, phase=Phase.RUNNING, lease_token=1, lease_until=place.now())
    known = read(place, row)
    known.lease_token = known.lease_until = None
    with place.atomic():
        assert not place.move(known, epoch=1, position=0)


def test_a_move_moves(place: Storage) -> None:
    row = inserted(place)
    known = read(place, row)
    with place.atomic():
        known.position = 1
        known.pending_events.append(FACT)
        assert place.move(known, epoch=1, position=0)
    assert (read(place, row).position, read(place, row).seq) == (1, 2)


# -- transactions ---------------------------------------------------------------------------------------------------
class Stop(BaseException):
    """As a killed process."""


def test_what_an_exception_ends_was_never_written(place: Storage) -> None:
    row = inserted(place)
    called: list[str] = []
    with contextlib.suppress(Stop), place.atomic():
        locked = place.lock(row.id)
        assert locked is not None
        locked.position = 5
        locked.pending_events.append(FACT)
        place.save(locked)
        inserted(place)
        place.add_hold(Hold("bank", "down", "op", place.now()))
        place.on_commit(lambda: called.append("committed"))
        raise Stop
    assert (read(place, row).position, len(place.events_of(row.id))) == (0, 1)
    assert (len(place.of_subject("o-1")), place.active_holds(), called) == (1, [], [])


def test_a_savepoint_is_undone_alone(place: Storage) -> None:
    called: list[str] = []
    with place.atomic():
        kept = a_row(place)
        place.insert(kept)
        place.on_commit(lambda: called.append("outer"))
        with contextlib.suppress(Stop), place.atomic():
            lost = a_row(place)
            place.insert(lost)
            place.on_commit(lambda: called.append("inner"))
            raise Stop
        assert called == [], "nothing is committed yet"
        assert place.is_in_transaction
    assert not place.is_in_transaction
    assert (place.read(kept.id) is not None, place.read(lost.id), called) == (True, None, ["outer"])


def test_a_callback_that_fails_keeps_no_other_back(place: Storage) -> None:
    called: list[str] = []
    with place.atomic():
        place.on_commit(lambda: 1 / 0)
        place.on_commit(lambda: called.append("second"))
    place.on_commit(lambda: called.append("at once"))
    assert called == ["second", "at once"]


# -- what is due ----------------------------------------------------------------------------------------------------
def taken(place: Storage, rows: list[Row], among: Callable[[], list[Row]]) -> list[int]:
    with place.atomic():
        found = [row.id for row in among()]
    return [number for saga_id in found for number, row in enumerate(rows) if row.id == saga_id]


def test_the_most_overdue_are_taken_first_and_those_not_due_are_left(place: Storage) -> None:
    now = place.now()
    rows = [inserted(place, wake_at=now + seconds * SECOND) for seconds in (-1, -3, 60, -2)]
    assert taken(place, rows, lambda: place.take_overdue(10)) == [1, 3, 0]
    assert taken(place, rows, lambda: place.take_overdue(2)) == [1, 3]
    assert place.next_wake_at() == read(place, rows[1]).wake_at


def test_parked_sagas_are_taken_when_they_are_to_be_retried(place: Storage) -> None:
    parked = {"status": Status.NEEDS_ATTENTION, "phase": Phase.PARKED, "resume_status": "STARTED", "error": "x",
              "wake_at": None}  # fmt: skip
    retry_at = [place.now() + seconds * SECOND for seconds in (-1, 60, -2)]
    rows = [inserted(place, **parked, retry_at=moment) for moment in retry_at] + [inserted(place, **parked)]
    assert taken(place, rows, lambda: place.take_retryable(10)) == [2, 0]
    assert taken(place, rows, lambda: place.take_retryable(1)) == [2]
    assert place.next_wake_at() is None


def test_those_held_longest_are_taken_first(place: Storage) -> None:
    since = [place.now() - seconds * SECOND for seconds in (1, 3, 2)]
    rows = [inserted(place, phase=Phase.HELD, held_by="bank", held_since=moment) for moment in since]
    rows.append(inserted(place, phase=Phase.HELD, held_by="tables", held_since=place.now()))
    assert taken(place, rows, lambda: place.take_held("bank", 2)) == [1, 2]
    assert place.held_counts() == {"bank": 3, "tables": 1}
    assert place.next_wake_at(except_held_by=["bank", "tables"]) is None


# -- holds ----------------------------------------------------------------------------------------------------------
def test_a_dependency_is_on_hold_once(place: Storage) -> None:
    first = place.add_hold(Hold("bank", "down", "op", place.now()))
    assert place.active_hold("bank") == first == place.last_hold("bank")
    with pytest.raises((IntegrityError, ValueError)), place.atomic():
        place.add_hold(Hold("bank", "again", "op", place.now()))
    released = Hold("bank", "down", "op", first.held_at, first.id, released_at=place.now(), released_by="op",
                    per_second=1.0, resumed_until=place.now())  # fmt: skip
    place.save_hold(released)
    assert (place.active_hold("bank"), place.active_holds(), place.last_hold("bank")) == (None, [], released)


def test_failures_are_counted(place: Storage) -> None:
    with place.atomic():
        none = place.lock_failures("bank")
        place.save_failures(type(none)("bank", 2, place.now()))
    assert place.failing() == {"bank"}
    with place.atomic():
        assert place.lock_failures("bank").in_a_row == 2


# -- a whole saga ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("failing", ["", "serve"], ids=["good", "refused"])
def test_a_saga_has_the_same_history_in_every_storage(failing: str) -> None:
    histories = []
    for chosen in (None, MemoryStorage()):
        World.reset()
        World.failures[failing] = [SoldOut("no")]
        with Runner(storage=chosen) as runner:
            with storage().atomic():
                row = Started().start()
            runner.run_to_end()
            histories.append(history(row.id))
    assert histories[0] == histories[1]
    assert len(histories[0]) > 8
