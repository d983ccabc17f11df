"""Workers of two releases share the queues. Each runs only the sagas and versions that it knows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from sagas import tasks
from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.engine import commands
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import Status
from tests.harness.fleet import Fleet, wait_for_children
from tests.harness.parcels import EFFECTS, RELEASES, Parcel, first, second

pytestmark = [pytest.mark.postgres, pytest.mark.rabbitmq, pytest.mark.chaos, pytest.mark.timeout(180)]

SHORT_WAITS = {"CHAOS_STALL_SECONDS": "2"}


@pytest.fixture(autouse=True)
def _definitions() -> Iterator[None]:
    registry.register(*RELEASES["new"])
    tasks.register_step_tasks()
    yield
    for saga in RELEASES["new"]:
        registry.unregister(saga)


def start(saga: Saga, count: int) -> None:
    for _ in range(count):
        parcel = uuid.uuid4().hex
        with transaction.atomic():
            commands.start(saga, input=Parcel(parcel), key=f"parcel:{parcel}", subject=parcel)


def wait_for_end(fleet: Fleet, *, seconds: float) -> float:
    began_at = time.monotonic()
    while SagaInstance.objects.exclude(status=Status.COMPLETED).exists():
        fleet.restart_ended()
        left = SagaInstance.objects.exclude(status=Status.COMPLETED).values_list(
            "version", "status", "position", "dispatches"
        )
        assert time.monotonic() - began_at < seconds, f"{list(left)}\n{fleet.log_ends()}"
        time.sleep(0.2)
    return time.monotonic() - began_at


def most(action: str) -> int:
    """The highest count of this action in the history of one saga."""
    ids = list(SagaEvent.objects.filter(action=action).values_list("saga_id", flat=True))
    return max((ids.count(saga_id) for saga_id in set(ids)), default=0)


def test_sagas_of_both_versions_end_while_old_and_new_workers_run_together(fleet: Fleet, capsys) -> None:
    old = fleet.start("worker", CHAOS_RELEASE="old", **SHORT_WAITS)
    fleet.start("beat", **SHORT_WAITS)
    wait_for_children(old, 2)
    start(first, 10)
    new = fleet.start("worker", CHAOS_RELEASE="new", **SHORT_WAITS)
    wait_for_children(new, 2)
    start(second, 15)
    start(first, 10)
    took = wait_for_end(fleet, seconds=90)
    for saga in SagaInstance.objects.all():
        left = Group.objects.filter(name__startswith=f"{saga.subject} ").order_by("id").values_list("name", flat=True)
        assert [name.split()[1] for name in left] == EFFECTS[saga.version]
    assert most("redriven") <= 12, "no saga is dispatched in a loop"
    assert most("step_claimed") == 1, "each van is booked once"
    with capsys.disabled():
        print(f"\n35 sagas of two versions: all ended {took:.1f} s later, at most {most('redriven')} redispatches")  # noqa: T201
    fleet.stop("worker", old)


def test_sagas_only_the_new_release_knows_wait_for_it(fleet: Fleet) -> None:
    old = fleet.start("worker", CHAOS_RELEASE="old", **SHORT_WAITS)
    fleet.start("beat", **SHORT_WAITS)
    wait_for_children(old, 2)
    start(second, 5)
    time.sleep(8)
    assert set(SagaInstance.objects.values_list("status", "position", "attempt")) == {("STARTED", 1, 0)}
    assert most("redriven") <= 3, "a release does not dispatch sagas that it does not know"
    wait_for_children(fleet.start("worker", CHAOS_RELEASE="new", **SHORT_WAITS), 2)
    wait_for_end(fleet, seconds=60)
