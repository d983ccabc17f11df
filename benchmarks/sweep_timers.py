"""Thousands of timers are due at once, with two beats and two workers: each order must be cancelled exactly once.

    python -m benchmarks.sweep_timers --timers 10000

Starts a PostgreSQL and a RabbitMQ of its own, and real beats and workers. Prints when the last timer had fired, when
the last order was CANCELLED with its authorization released, and the plan of the sweep's query. Exits 1 if an order was
cancelled twice or not at all, if an authorization is left, or if the plan reads the whole table.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scratch import private_servers
from tests.harness.fleet import Fleet

BATCH = 1_000
PATIENCE_SECONDS = 1_800
REPORT_SECONDS = 10


def main() -> int:
    parser = argparse.ArgumentParser(description="Act on many expired timers.")
    parser.add_argument("--timers", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--beats", type=int, default=2)
    options = parser.parse_args()
    with private_servers(CAMPUSG_TIMER_SWEEP_SECONDS="2") as (servers, environment):
        create_timers(options.timers)
        plan = plan_of_the_sweep()
        with Fleet(environment, Path(servers.folder)) as fleet:
            took = sweep(fleet, options)
        return report(options, took, plan)


def create_timers(count: int) -> None:
    """Place one order with a saga, and copy its rows `count` times, each with a timer that is due."""
    from django.db import connection

    from sagas.testing import Runner

    with Runner() as runner:
        original = placed(runner)
    for first in range(0, count, BATCH):
        copy(original, min(BATCH, count - first))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def placed(runner: Any) -> Any:
    from django.contrib.auth.models import User
    from rest_framework.test import APIClient

    from orders.models import Order

    client = APIClient()
    client.force_authenticate(User.objects.create_user("alice"))
    item = {"productName": "Soup", "quantity": 1, "price": "4.50"}
    answer = client.post("/api/orders", {"userId": "alice", "items": [item]}, format="json").json()
    runner.run_to_end()
    return Order.objects.get(pk=answer["order_id"])


@dataclass(frozen=True)
class Ids:
    order: uuid.UUID
    saga: uuid.UUID
    payment: uuid.UUID
    escrow: uuid.UUID
    intent: str


def copy(original: Any, count: int) -> None:
    """Copy the order and all rows that belong to it, at the payment provider too."""
    from orders.models import Order
    from payments.models import EscrowTransaction, Payment
    from payments.sandbox.models import SandboxIntent
    from sagas.ids import uuid7
    from sagas.models import SagaInstance

    saga = SagaInstance.objects.get(pk=original.saga_id)
    payment = Payment.objects.get(order_id=original.pk)
    escrow = EscrowTransaction.objects.get(order_id=original.pk)
    intent = SandboxIntent.objects.get(pk=payment.intent_id)
    all_ids = [Ids(uuid7(), uuid7(), uuid7(), uuid7(), f"pi_{secrets.token_hex(12)}") for _ in range(count)]
    Order.objects.bulk_create(copy_of(original, id=i.order, saga_id=i.saga, payment_id=i.payment) for i in all_ids)
    SagaInstance.objects.bulk_create(
        copy_of(saga, id=i.saga, key=f"copy:{i.order}", subject=str(i.order), data=data_for(saga.data, i))
        for i in all_ids
    )
    Payment.objects.bulk_create(
        copy_of(payment, id=i.payment, order_id=i.order, intent_id=i.intent, idempotency_key=f"saga:{i.saga}:authorize")
        for i in all_ids
    )
    EscrowTransaction.objects.bulk_create(
        copy_of(escrow, id=i.escrow, order_id=i.order, payment_id=i.payment) for i in all_ids
    )
    SandboxIntent.objects.bulk_create(copy_of(intent, id=i.intent) for i in all_ids)
    _create_due_timers(all_ids)


def _create_due_timers(all_ids: list[Ids]) -> None:
    from django.conf import settings
    from django.utils import timezone

    from timers.models import ScheduledEvent

    past = timezone.now() - settings.ORDER_ACCEPTANCE_WINDOW
    ScheduledEvent.objects.bulk_create(
        ScheduledEvent(
            event_type=settings.ORDER_ACCEPTANCE_EVENT, entity_id=str(i.order), scheduled_at=past, due_at=past
        )
        for i in all_ids
    )


def copy_of(row: Any, **changes: Any) -> Any:
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}  # noqa: SLF001
    return type(row)(**(values | changes))


def data_for(data: dict[str, Any], ids: Ids) -> dict[str, Any]:
    changed = {"order_id": str(ids.order), "payment_id": str(ids.payment)}
    return data | {"input": data["input"] | changed}


def plan_of_the_sweep() -> str:
    from timers.models import ScheduledEvent
    from timers.services import SWEEP_BATCH_SIZE

    return str(ScheduledEvent.objects.due().order_by("due_at").values_list("pk")[:SWEEP_BATCH_SIZE].explain())


def sweep(fleet: Fleet, options: argparse.Namespace) -> tuple[float, float]:
    """Run the sweep. Returns the seconds until the last timer had fired, and until the last order was cancelled."""
    from orders.models import Order
    from timers.models import ScheduledEvent

    started_at = time.monotonic()
    for _ in range(options.workers):
        fleet.start("worker")
    for _ in range(options.beats):
        fleet.start("beat")
    fired_after, reported_at = 0.0, started_at
    while time.monotonic() - started_at < PATIENCE_SECONDS:
        passed = time.monotonic() - started_at
        cancelled = Order.objects.filter(status="CANCELLED").count()
        if not fired_after and ScheduledEvent.objects.filter(status="FIRED").count() >= options.timers:
            fired_after = passed
        if cancelled >= options.timers:
            return fired_after, passed
        if time.monotonic() - reported_at > REPORT_SECONDS:
            reported_at = time.monotonic()
            sys.stderr.write(f"{passed:5.0f} s  {cancelled} of {options.timers} orders cancelled\n")
        time.sleep(0.5)
    return fired_after, PATIENCE_SECONDS


def report(options: argparse.Namespace, took: tuple[float, float], plan: str) -> int:
    from django.db.models import Count

    from orders.models import Order
    from payments.sandbox.models import LIVE_STATUSES, SandboxIntent
    from sagas.models import SagaEvent
    from timers.models import ScheduledEvent

    timers = options.timers
    fired = ScheduledEvent.objects.filter(status="FIRED").count()
    cancelled = Order.objects.filter(status="CANCELLED").count()
    begun = SagaEvent.objects.filter(action="cancellation_started")
    twice = begun.values("saga_id").annotate(times=Count("id")).filter(times__gt=1).count()
    holds = SandboxIntent.objects.filter(status__in=LIVE_STATUSES).count() - 1  # the original is still waiting
    is_indexed = "timers_event_due" in plan and "Seq Scan" not in plan
    sys.stdout.write(
        f"{timers} expired timers, {options.beats} beats, {options.workers} workers: all fired after {took[0]:.1f} s, "
        f"all cancelled after {took[1]:.1f} s ({timers / took[1]:.0f} a second)\n"
        f"fired {fired}, cancelled {cancelled}, cancellations begun {begun.count()}, begun twice {twice}, "
        f"holds left {holds}\n{plan}\n"
    )
    right = (fired, cancelled, begun.count(), twice, holds, is_indexed)
    return 0 if right == (timers, timers, timers, 0, 0, True) else 1


if __name__ == "__main__":
    sys.exit(main())
