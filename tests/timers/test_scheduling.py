"""Timers are scheduled, cancelled, fired once, and fired again after a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from sagas.storage import clock
from tests.timers.conftest import Recorder
from timers import checks, registry, services, steps, tasks
from timers.errors import (
    EventAlreadySettled,
    PayloadTooLarge,
    ScheduledInThePast,
    UnknownEvent,
    UnknownEventType,
)
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _moved_clock_is_reset() -> Iterator[None]:
    with clock.moved():
        yield


def a_timer(entity_id: str = "e1", *, after: timedelta = HOUR) -> ScheduledEvent:
    return services.schedule_in(event_type="test.event", entity_id=entity_id, delay=after, payload={"n": 1})


def test_a_timer_fires_when_its_time_has_come_and_only_once(handler: Recorder) -> None:
    event = a_timer()
    assert services.fire_due() == 0
    clock.advance(HOUR + timedelta(seconds=1))
    assert [services.fire_due(), services.fire_due()] == [1, 0]
    assert handler.calls == ["e1"]
    event.refresh_from_db()
    assert event.status == "FIRED"
    assert event.fired_at is not None
    assert event.due_at is None


def test_timers_fire_in_the_order_of_their_times(handler: Recorder) -> None:
    for minutes in (3, 1, 2):
        a_timer(f"e{minutes}", after=timedelta(minutes=minutes))
    clock.advance(HOUR)
    assert services.fire_due() == 3
    assert handler.calls == ["e1", "e2", "e3"]


def test_one_entity_has_one_live_timer_of_a_type(handler: Recorder) -> None:
    assert a_timer().pk == a_timer().pk
    assert ScheduledEvent.objects.count() == 1


def test_the_database_itself_refuses_a_second_live_timer(handler: Recorder) -> None:
    event = a_timer()
    with pytest.raises(IntegrityError), transaction.atomic():
        ScheduledEvent.objects.create(event_type="test.event", entity_id="e1", scheduled_at=event.scheduled_at)


def test_a_cancelled_timer_does_not_fire(handler: Recorder) -> None:
    event = a_timer()
    assert [services.cancel(event_type="test.event", entity_id="e1") for _ in range(2)] == [True, False]
    clock.advance(2 * HOUR)
    assert services.fire_due() == 0
    assert handler.calls == []
    event.refresh_from_db()
    assert event.status == "CANCELLED"


def test_after_a_cancelled_timer_a_new_one_can_be_scheduled(handler: Recorder) -> None:
    first = a_timer()
    services.cancel_event(event_id=str(first.pk))
    assert a_timer().pk != first.pk


def test_a_timer_is_cancelled_once(handler: Recorder) -> None:
    event = a_timer()
    assert services.cancel_event(event_id=str(event.pk)).status == "CANCELLED"
    with pytest.raises(EventAlreadySettled):
        services.cancel_event(event_id=str(event.pk))
    with pytest.raises(UnknownEvent):
        services.cancel_event(event_id="01a1f941-c113-76f8-8c52-858750915a7b")


def test_a_timer_whose_handler_fails_fires_again_later(handler: Recorder) -> None:
    event = a_timer()
    handler.is_failing = True
    clock.advance(HOUR + timedelta(seconds=1))
    assert services.fire_due() == 0
    event.refresh_from_db()
    assert (event.status, event.attempts) == ("EXPIRED", 1)
    assert event.error == "RuntimeError: the handler fails"
    handler.is_failing = False
    assert services.fire_due() == 0, "it waits before it tries again"
    clock.advance(services.FIRST_RETRY + timedelta(seconds=1))
    assert services.fire_due() == 1
    event.refresh_from_db()
    assert (event.status, event.error) == ("FIRED", "")


def test_a_timer_whose_handler_always_fails_waits_for_a_person(handler: Recorder) -> None:
    event = a_timer()
    handler.is_failing = True
    for _ in range(services.MAX_ATTEMPTS + 5):
        clock.advance(HOUR)
        services.fire_due()
    event.refresh_from_db()
    assert (event.status, event.attempts, event.due_at) == ("EXPIRED", services.MAX_ATTEMPTS, None)
    handler.is_failing = False
    assert services.fire_again(event_ids=[str(event.pk)]) == 1
    assert services.fire_due() == 1
    assert handler.calls == ["e1"]


def test_a_timer_whose_sweep_died_is_fired_by_the_next(handler: Recorder) -> None:
    a_timer()
    clock.advance(HOUR + timedelta(seconds=1))
    assert len(services._claim_batch(10)) == 1
    assert services.fire_due() == 0, "another sweep has claimed it"
    clock.advance(services.CLAIM_LEASE + timedelta(seconds=1))
    assert services.fire_due() == 1


def test_what_a_failing_handler_wrote_is_gone(handler: Recorder) -> None:
    def write_and_fail(entity_id: str, payload: dict[str, Any]) -> None:
        services.schedule_in(event_type="test.event", entity_id="written", delay=HOUR, payload={})
        raise RuntimeError

    registry.register("test.failing", write_and_fail)
    try:
        services.schedule_in(event_type="test.failing", entity_id="e1", delay=HOUR, payload={})
        clock.advance(2 * HOUR)
        assert services.fire_due() == 0
    finally:
        registry.unregister("test.failing")
    assert not ScheduledEvent.objects.filter(entity_id="written").exists()


def test_a_timer_settled_while_its_handler_runs_has_no_effect(handler: Recorder) -> None:
    """What the handler wrote is rolled back if the timer was cancelled first."""

    def cancel_meanwhile(entity_id: str, payload: dict[str, Any]) -> None:
        services.cancel(event_type="test.cancelling", entity_id=entity_id)
        services.schedule_in(event_type="test.event", entity_id="written", delay=HOUR, payload={})

    registry.register("test.cancelling", cancel_meanwhile)
    try:
        services.schedule_in(event_type="test.cancelling", entity_id="e1", delay=HOUR, payload={})
        clock.advance(2 * HOUR)
        assert services.fire_due() == 0
    finally:
        registry.unregister("test.cancelling")
    assert not ScheduledEvent.objects.filter(entity_id="written").exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"event_type": "test.unknown"}, UnknownEventType),
        ({"scheduled_at": timezone.now() - timedelta(seconds=1)}, ScheduledInThePast),
        ({"payload": {"x": "y" * services.MAX_PAYLOAD_BYTES}}, PayloadTooLarge),
    ],
    ids=["unknown type", "past", "too large"],
)
def test_what_cannot_fire_is_not_scheduled(handler: Recorder, changes: dict[str, Any], error: type[Exception]) -> None:
    arguments: dict[str, Any] = {"event_type": "test.event", "entity_id": "e", "payload": {}}
    with pytest.raises(error):
        services.schedule(**(arguments | {"scheduled_at": timezone.now() + HOUR} | changes))
    assert not ScheduledEvent.objects.exists()


def test_two_handlers_of_one_type_are_a_mistake(handler: Recorder) -> None:
    with pytest.raises(ValueError, match="already has a handler"):
        registry.register("test.event", Recorder())


def test_a_missing_handler_is_found_before_anything_runs(settings: Any) -> None:
    assert checks.acceptance_event_has_a_handler() == []
    settings.ORDER_ACCEPTANCE_EVENT = "unknown.event"
    assert [problem.id for problem in checks.acceptance_event_has_a_handler()] == ["timers.E001"]


def test_the_steps_start_one_timer_and_cancel_it(settings: Any) -> None:
    first, again = (steps.start_timer(order_id="o1", owner="alice", saga_id="s1")["timer_id"] for _ in range(2))
    assert first == again
    event = ScheduledEvent.objects.get(pk=first)
    window = event.scheduled_at - event.created_at
    assert abs(window - settings.ORDER_ACCEPTANCE_WINDOW) < timedelta(seconds=5)
    for _ in range(2):
        steps.cancel_timer(order_id="o1")
    event.refresh_from_db()
    assert event.status == "CANCELLED"


def test_cancelling_a_timer_that_does_not_exist_does_nothing() -> None:
    steps.cancel_timer(order_id="never")


def test_a_timer_cancelled_before_it_was_started_does_not_start() -> None:
    """An order may be accepted while the saga that created it has not started the timer yet."""
    steps.cancel_timer(order_id="o1")
    steps.start_timer(order_id="o1", owner="alice", saga_id="s1")
    assert not ScheduledEvent.objects.live().exists()
    steps.restore_timer(order_id="o1")
    assert ScheduledEvent.objects.live().get().due_at is not None


def test_the_task_sweeps(handler: Recorder) -> None:
    a_timer()
    clock.advance(2 * HOUR)
    assert tasks.sweep() == 1


def test_the_delays_grow_up_to_ten_minutes() -> None:
    delays = [services.backoff(attempt).total_seconds() for attempt in (1, 2, 3, 4, 9, 100)]
    assert delays == [5, 10, 20, 40, 600, 600]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_fire_each_timer_once() -> None:
    fired_for: list[str] = []
    registry.register("test.shared", lambda entity_id, _: fired_for.append(entity_id))
    try:
        for number in range(500):
            services.schedule_in(event_type="test.shared", entity_id=str(number), delay=HOUR, payload={})
        clock.advance(2 * HOUR)
        fired = sweep_in_threads(4)
    finally:
        registry.unregister("test.shared")
    assert sum(fired) == 500
    assert sorted(fired_for, key=int) == [str(number) for number in range(500)]


def sweep_in_threads(count: int) -> list[int]:
    fired: list[int] = []

    def sweep() -> None:
        fired.append(services.fire_due())
        connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return fired


@pytest.mark.postgres
def test_the_sweep_is_served_by_its_index(handler: Recorder) -> None:
    now = timezone.now()
    ScheduledEvent.objects.bulk_create(
        ScheduledEvent(event_type="test.event", entity_id=str(n), scheduled_at=now, due_at=now + HOUR)
        for n in range(5_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE timers_scheduledevent")
    plan = ScheduledEvent.objects.due().order_by("due_at")[:200].explain()
    assert "timers_event_due" in plan
    assert "Seq Scan" not in plan
