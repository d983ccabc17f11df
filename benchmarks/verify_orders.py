"""How long `manage.py verify` takes for many orders, and whether it finds ten damaged rows among them.

    python -m benchmarks.verify_orders --orders 100000

First a few dozen orders with all possible outcomes go through the engine, the payment provider and the ledger. Then
their rows are copied inside the database, under new ids. Exits 1 if verifying takes longer than `--seconds`, if it
finds anything before the damage, or if it does not find exactly the damage after that.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.scratch import scratch_database

#: How many orders are placed for each outcome. Their rows are then copied.
ORDERS_BY_OUTCOME = {
    "placed": 8,
    "accepted": 6,
    "completed": 14,
    "cancelled": 5,
    "expired": 2,
    "failed": 4,
    "refunded": 1,
}
#: The last six hex digits of a copy's ids, and the part before them.
NUMBER = "lpad(to_hex(copy), 6, '0')"
UUID_START = "([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{6})"
#: Texts and JSON that contain ids, and texts that must be unique.
WITH_IDS = {
    "orders_idempotencykey.path", "orders_idempotencykey.location", "orders_idempotencykey.response",
    "payments_payment.idempotency_key", "payments_ledgertransaction.key", "sagas_sagainstance.key",
    "sagas_sagainstance.subject", "sagas_sagainstance.data", "timers_scheduledevent.entity_id",
    "timers_scheduledevent.payload",
}  # fmt: skip
UNIQUE = {"orders_idempotencykey.key", "payments_payment.intent_id"}
Found = set[tuple[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify many orders.")
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="the longest time it may take")
    options = parser.parse_args()
    with scratch_database("verify_orders"):
        originals, took = timed(place_originals)
        say(f"{originals} orders with {len(ORDERS_BY_OUTCOME)} outcomes placed in {took:.1f} s")
        _, took = timed(lambda: multiply(-(-options.orders // originals)))
        say(f"copied in {took:.1f} s: " + ", ".join(f"{rows:,} {table}" for table, rows in sizes().items()))
        return judge(options.seconds)


def judge(longest: float) -> int:
    healthy, seconds = verify()
    table(healthy)
    outcome = f"exit {healthy['exit']}, {healthy['breaches']} breaches"
    cpu = f"{healthy['cpu']:.1f} s of CPU with the database's"
    say(f"\nhealthy: {outcome}, {seconds:.1f} s (at most {longest:.0f} s), {cpu}, load {os.getloadavg()[0]:.1f}")
    expected = damage()
    damaged, again = verify()
    found = {(row["code"], breach["subject"]) for row in damaged["invariants"] for breach in row["examples"]}
    say(f"damaged: exit {damaged['exit']}, {len(expected)} damages, {len(found)} found, {again:.1f} s")
    for code, subject in sorted(expected | found):
        mark = "found" if (code, subject) in expected & found else "MISSED" if (code, subject) in expected else "WRONG"
        say(f"  {mark:<6}  {code:<4} {subject}")
    is_right = (healthy["exit"], healthy["breaches"], damaged["exit"], found) == (0, 0, 1, expected)
    return 0 if is_right and max(seconds, again) <= longest else 1


def verify() -> tuple[dict[str, Any], float]:
    from django.core.management import call_command

    output, code = io.StringIO(), 0
    started_at, cpu_before = time.monotonic(), cpu_seconds()
    try:
        call_command("verify", "--json", "--limit", "100", stdout=output)
    except SystemExit as ended:
        code = int(str(ended.code))
    return json.loads(output.getvalue()) | {
        "exit": code,
        "cpu": cpu_seconds() - cpu_before,
    }, time.monotonic() - started_at


def cpu_seconds() -> float:
    """CPU time of this process and, if the database runs on this machine, of its session there."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        session = Path(f"/proc/{cursor.fetchone()[0]}/stat")
    ticks = sum(map(int, session.read_text().rpartition(")")[2].split()[11:13])) if session.exists() else 0
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def table(document: dict[str, Any]) -> None:
    for row in document["invariants"]:
        figures = f"{row['looked_at']:>9,} {row['of']:<19} {row['breaches']:>3}  {row['seconds']:6.2f} s"
        say(f"{row['code']:<4} {row['says']:<80} {figures}")


# -- originals ------------------------------------------------------------------------------------------------------
def place_originals() -> int:
    from orders.models import MenuItem, Order
    from sagas.testing import Runner

    MenuItem.objects.create(sku="soup", restaurant="Campus Store", name="Soup", price="4.50", stock=1_000)
    with Runner() as runner:
        campus = Campus(runner)
        for outcome, count in sorted(ORDERS_BY_OUTCOME.items(), key=lambda item: item[0] != "expired"):
            for _ in range(count):
                getattr(campus, outcome)()
    relay()
    return int(Order.objects.count())


def relay() -> None:
    """Mark all events as published, as the relay of a running system does."""
    from django.db.models import F

    from sagas.models import SagaEvent
    from sagas.storage import storage

    storage().number_events(1_000_000)
    SagaEvent.objects.exclude(type="").update(published_at=F("created_at"))


class Campus:
    """A customer, a runner and an operator. The sagas run right after each request."""

    def __init__(self, runner: Any) -> None:
        from django.contrib.auth.models import Group, User
        from rest_framework.test import APIClient

        self.runner, self.clients, self.keys = runner, {}, 0
        for name, role in (("alice", "customer"), ("rita", "runner"), ("olga", "operator")):
            user = User.objects.create_user(name)
            user.groups.add(Group.objects.get_or_create(name=role)[0])
            self.clients[name] = APIClient()
            self.clients[name].force_authenticate(user)

    def placed(self, **more: Any) -> str:
        self.keys += 1
        soup = {"productId": "soup", "productName": "Soup", "quantity": 1 + self.keys % 3, "price": "4.50"}
        tip = {"productName": "Tip", "quantity": 1, "price": "1.00"}
        body = {"userId": "alice", "items": [soup, tip], **more}
        return str(self._post("alice", "", body, {"Idempotency-Key": f"key-{self.keys}"})["order_id"])

    def failed(self) -> None:
        self.placed(payment_method="pm_card_chargeDeclined")

    def cancelled(self) -> None:
        self._post("alice", f"/{self.placed()}/cancel")

    def accepted(self) -> str:
        order_id = self.placed()
        self._post("rita", f"/{order_id}/accept")
        return order_id

    def completed(self) -> str:
        order_id = self.accepted()
        self._post("rita", f"/{order_id}/complete")
        return order_id

    def refunded(self) -> None:
        self._post("olga", f"/{self.completed()}/cancel")

    def expired(self) -> None:
        from timers import services

        self.placed()
        relay()
        self.runner.let_pass(timedelta(minutes=30, seconds=1))
        services.fire_due()
        self.runner.run_to_end()

    def _post(self, who: str, path: str, body: Any = None, headers: Any = None) -> dict[str, Any]:
        response = self.clients[who].post(f"/api/orders{path}", body or {}, format="json", headers=headers or {})
        if response.status_code not in (200, 202):
            raise SystemExit(f"{path}: {response.status_code} {response.json()}")
        self.runner.run_to_end()
        return dict(response.json())


# -- copies ---------------------------------------------------------------------------------------------------------
def multiply(times: int) -> None:
    """Copy every row of every order, so that there are `times` of each, with different ids.

    All UUIDs of a copy end with its number: in columns, in texts and in JSON. Rows that do not belong to one order
    (accounts, users, the menu) are not copied; the stock is multiplied.
    """
    from django.db import connection

    from orders.models import MenuItem

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        for model in copied():
            fields = [f for f in model._meta.concrete_fields if f.get_internal_type() != "BigAutoField"]  # noqa: SLF001
            name = model._meta.db_table  # noqa: SLF001
            columns = ", ".join(f'"{field.column}"' for field in fields)
            values = ", ".join(value_in_copy(name, field) for field in fields)
            copies = f"SELECT {values} FROM {name} AS original, generate_series(1, {times - 1}) AS copy"
            cursor.execute(f"INSERT INTO {name} ({columns}) {copies}")
            cursor.execute(f"ANALYZE {name}")
    item = MenuItem.objects.get()
    MenuItem.objects.update(stock=item.stock * times, reserved=item.reserved * times)


def copied() -> tuple[Any, ...]:
    """The tables whose rows belong to one order, parents before children."""
    from orders.models import Order, OrderLine, StockReservation
    from payments.models import EscrowTransaction, LedgerEntry, LedgerTransaction, Payment, Refund
    from sagas.models import IdempotencyKey, SagaEvent, SagaInstance
    from timers.models import ScheduledEvent

    return (
        Order, OrderLine, StockReservation, IdempotencyKey, Payment, Refund, EscrowTransaction, LedgerTransaction,
        LedgerEntry, SagaInstance, SagaEvent, ScheduledEvent,
    )  # fmt: skip


def value_in_copy(table_name: str, field: Any) -> str:
    """The SQL of a column's value in copy number `copy`."""
    from django.db.models import JSONField, UUIDField

    column = f'original."{field.column}"'
    if isinstance(getattr(field, "target_field", field), UUIDField):
        return f"overlay({column}::text placing {NUMBER} from 31)::uuid"
    if f"{table_name}.{field.column}" in UNIQUE:
        return f"CASE {column} WHEN '' THEN '' ELSE {column} || '-' || copy END"
    if f"{table_name}.{field.column}" in WITH_IDS:
        renamed = f"regexp_replace({column}::text, '{UUID_START}[0-9a-f]{{6}}', '\\1' || {NUMBER}, 'g')"
        return f"({renamed})::jsonb" if isinstance(field, JSONField) else renamed
    return column


# -- damage ---------------------------------------------------------------------------------------------------------
def damage() -> Found:
    """Change ten rows, with the ledger's triggers switched off. Returns code and subject of each expected finding."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        found = {harm(orders_in) for harm in DAMAGES}
        cursor.execute("SET session_replication_role = DEFAULT")
    return found


def orders_in(status: str) -> Any:
    """A random order with this status. Among so many it is hardly one that is damaged already."""
    from orders.models import Order

    return Order.objects.filter(status=status).order_by("?").first()


def a_fact_deleted(pick: Callable[[str], Any]) -> tuple[str, str]:
    from sagas.models import SagaEvent

    saga_id = pick("ACCEPTED").saga_id
    SagaEvent.objects.filter(saga_id=saga_id, action="step_claimed").delete()
    return "I9", f"saga {saga_id}"


def a_saga_changed(pick: Callable[[str], Any]) -> tuple[str, str]:
    from sagas.models import SagaInstance

    saga_id = pick("COMPLETED").saga_id
    SagaInstance.objects.filter(pk=saga_id).update(epoch=99)
    return "I9", f"saga {saga_id}"


def an_event_unnamed(pick: Callable[[str], Any]) -> tuple[str, str]:
    from sagas.models import SagaEvent

    saga_id = pick("FAILED").saga_id
    SagaEvent.objects.filter(saga_id=saga_id, action="finished").update(type="")
    return "I11", f"saga {saga_id}"


def an_authorization_lost(pick: Callable[[str], Any]) -> tuple[str, str]:
    from payments.models import Payment

    order = pick("CREATED")
    Payment.objects.filter(order_id=order.pk).update(status="VOIDED")
    return "I1", f"order {order.pk}"


def an_escrow_left(pick: Callable[[str], Any]) -> tuple[str, str]:
    from payments.models import EscrowTransaction

    order = pick("CANCELLED")
    EscrowTransaction.objects.filter(order_id=order.pk, type="HOLD").update(status="HELD")
    return "I2", f"order {order.pk}"


def a_timer_lost(pick: Callable[[str], Any]) -> tuple[str, str]:
    from timers.models import ScheduledEvent

    order = pick("CREATED")
    ScheduledEvent.objects.filter(entity_id=str(order.pk)).delete()
    return "I14", f"order {order.pk}"


def a_capture_denied(pick: Callable[[str], Any]) -> tuple[str, str]:
    from payments.models import Payment

    order = pick("COMPLETED")
    Payment.objects.filter(order_id=order.pk).update(status="AUTHORIZED")
    return "I4", f"payment {order.payment_id}"


def a_ledger_entry_changed(pick: Callable[[str], Any]) -> tuple[str, str]:
    from django.db.models import F

    from payments.models import LedgerEntry

    order = pick("COMPLETED")
    paid = LedgerEntry.objects.filter(transaction__order_id=order.pk, transaction__kind="RELEASE")
    paid.update(amount_cents=F("amount_cents") - 1)
    return "I5", f"order {order.pk}"


def stock_off_by_one(pick: Callable[[str], Any]) -> tuple[str, str]:
    from django.db.models import F

    from orders.models import MenuItem

    MenuItem.objects.update(reserved=F("reserved") + 1)
    return "I6", "item soup"


def an_answer_changed(pick: Callable[[str], Any]) -> tuple[str, str]:
    from sagas.models import IdempotencyKey

    order = pick("ACCEPTED")
    key = IdempotencyKey.objects.get(response__order_id=str(order.pk))
    key.response = key.response | {"order_id": str(order.saga_id)}
    key.save()
    return "I13", f"idempotency key {key.pk}"


DAMAGES = (
    a_fact_deleted, a_saga_changed, an_event_unnamed, an_authorization_lost, an_escrow_left, a_timer_lost,
    a_capture_denied, a_ledger_entry_changed, stock_off_by_one, an_answer_changed,
)  # fmt: skip


def sizes() -> dict[str, int]:
    return {str(model._meta.verbose_name_plural): model.objects.count() for model in copied()}  # noqa: SLF001


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started_at = time.monotonic()
    return work(), time.monotonic() - started_at


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
