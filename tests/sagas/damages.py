"""Damage done to the tables by hand, and what `manage.py verify` should find of each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection, models, transaction
from django.db.models import F

from orders.models import MenuItem, Order, StockReservation
from payments.models import EscrowTransaction, LedgerEntry, LedgerTransaction, Payment, Refund
from sagas.models import IdempotencyKey, SagaEvent, SagaInstance
from tests.orders.campus import Campus, Found, publish_all
from tests.tables import empty_tables, tables
from timers.models import ScheduledEvent

LEDGER = ("payments_ledgertransaction", "payments_ledgerentry")


@contextmanager
def unprotected() -> Iterator[None]:
    """The tables as a superuser can make them: no CHECK, no ledger trigger, several payments for one order. In the end
    they are emptied and get their protection back."""
    unique = Payment._meta.get_field("order_id")
    several = models.UUIDField()
    several.set_attributes_from_name("order_id")
    several.model = Payment
    checks = _drop_the_checks()
    _alter(unique, several)
    try:
        yield
    finally:
        empty_tables()
        _alter(several, unique)
        _execute(checks)


def _drop_the_checks() -> list[str]:
    """Returns the statements that create them again."""
    if connection.vendor == "sqlite":
        triggers = _fetch("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        _execute(["PRAGMA ignore_check_constraints = ON", *(f"DROP TRIGGER {name}" for name, _ in triggers)])
        return [*(sql for _, sql in triggers), "PRAGMA ignore_check_constraints = OFF"]
    checks = _fetch(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'c' AND conrelid::regclass::text ~ '^(sagas|orders|payments|timers)_'"
    )
    _execute(
        [
            *(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"' for table, name, _ in checks),
            *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in LEDGER),
        ]
    )
    return [
        *(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {check}' for table, name, check in checks),
        *(f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in LEDGER),
    ]


def _alter(before: models.Field[Any, Any], after: models.Field[Any, Any]) -> None:
    with connection.schema_editor(atomic=False) as editor:
        editor.alter_field(Payment, before, after, strict=True)


@contextmanager
def copied() -> Iterator[Callable[[], None]]:
    """The rows as they are now; calling what it gives puts them back."""

    def put_back() -> None:
        with transaction.atomic():
            _execute([f"DELETE FROM {table}" for table in tables()])
            _execute([f"INSERT INTO {table} SELECT * FROM {table}_copy" for table in tables()])

    _execute([f"CREATE TABLE {table}_copy AS SELECT * FROM {table}" for table in tables()])
    try:
        yield put_back
    finally:
        _execute([f"DROP TABLE {table}_copy" for table in tables()])


def _fetch(query: str) -> list[tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def _execute(statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


Damage = Callable[[Campus], Found]
DAMAGES: list[Damage] = []


def damage(done: Damage) -> Damage:
    """Register a function that damages a healthy campus by hand, and returns what `verify` should find."""
    DAMAGES.append(done)
    return done


def saga_of(order: Order) -> str:
    return f"saga {order.saga_id}"


def history_of(order: Order) -> Any:
    return SagaEvent.objects.filter(saga_id=order.saga_id)


@damage
def a_fact_deleted_from_the_middle(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).filter(seq=4).delete()
    return {("I9", saga_of(order))}


@damage
def the_last_fact_deleted(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).order_by("-seq").first().delete()
    return {("I9", saga_of(order))}


@damage
def a_whole_history_deleted(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).delete()
    return {("I9", saga_of(order))}


@damage
def a_fact_that_says_another_step(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).filter(action="step_completed", step="get_payment_info").update(step="validate_payment_info")
    return {("I9", saga_of(order)), ("I11", saga_of(order))}


@damage
def a_fact_that_says_another_position(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).filter(action="step_completed", step="hold_escrow").update(position=3)
    return {("I9", saga_of(order))}


@damage
def undos_in_another_order(campus: Campus) -> Found:
    order = campus.cancelled()
    for step, swapped in (("cancel_escrow", "x"), ("revert_payment", "cancel_escrow"), ("x", "revert_payment")):
        history_of(order).filter(action="undo_completed", step=step).update(step=swapped)
    return {("I9", saga_of(order)), ("I11", saga_of(order))}


@damage
def a_fact_recorded_twice(campus: Campus) -> Found:
    order = campus.placed()
    fact = history_of(order).get(action="step_completed", step="hold_escrow")
    last = history_of(order).order_by("seq").last()
    fact.pk, fact.seq = None, last.seq + 1
    fact.save(force_insert=True)
    SagaInstance.objects.filter(pk=order.saga_id).update(seq=F("seq") + 1)
    return {("I8", saga_of(order)), ("I9", saga_of(order))}


@damage
def a_saga_said_to_be_elsewhere(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).update(status="COMPENSATED", direction="BACK")
    return {("I9", saga_of(order)), ("I9", f"order {order.pk}")}


@damage
def a_saga_said_to_be_in_another_phase(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).update(phase="READY")
    return {("I7", saga_of(order)), ("I9", saga_of(order))}


@damage
def a_call_said_to_have_run(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).update(may_have_run=True)
    return {("I9", saga_of(order))}


@damage
def a_saga_with_another_epoch(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).update(epoch=7)
    return {("I9", saga_of(order))}


@damage
def a_saga_deleted(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).delete()
    return {("I9", saga_of(order)), ("I9", f"order {order.pk}")}


@damage
def a_saga_that_nothing_will_wake(campus: Campus) -> Found:
    order = campus.place()
    SagaInstance.objects.filter(pk=order.saga_id).update(wake_at=None)
    return {("I7", saga_of(order))}


@damage
def a_saga_that_is_overlooked(campus: Campus) -> Found:
    order = campus.place()
    SagaInstance.objects.filter(pk=order.saga_id).update(wake_at=F("wake_at") - timedelta(minutes=11))
    return {("I7", saga_of(order))}


@damage
def an_event_robbed_of_its_name(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).filter(step="authorize_payment", action="step_completed").update(type="")
    return {("I11", saga_of(order))}


@damage
def an_event_never_published(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).update(published_at=F("created_at"))
    history_of(order).filter(action="finished").update(
        published_at=None, created_at=F("created_at") - timedelta(minutes=11)
    )
    return {("I11", saga_of(order))}


@damage
def an_event_overtaken(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).exclude(seq=2).update(published_at=F("created_at"))
    return {("I11", saga_of(order))}


@damage
def an_event_without_its_number(campus: Campus) -> Found:
    order = campus.placed()
    publish_all()
    history_of(order).filter(type="order.created").update(subject_sequence=None)
    return {("I11", f"subject {order.pk}")}


@damage
def an_authorization_lost(campus: Campus) -> Found:
    order = campus.placed()
    Payment.objects.filter(order_id=order.pk).update(status="VOIDED")
    return {("I1", f"order {order.pk}")}


@damage
def an_authorization_of_another_amount(campus: Campus) -> Found:
    order = campus.placed()
    Payment.objects.filter(order_id=order.pk).update(amount_cents=1, authorized_cents=1)
    return {("I1", f"order {order.pk}")}


@damage
def two_live_authorizations(campus: Campus) -> Found:
    order = campus.placed()
    payment = Payment.objects.get(order_id=order.pk)
    payment.pk, payment.intent_id = uuid.uuid4(), "pi_second"
    payment.save(force_insert=True)
    return {("I3", f"order {order.pk}")}


@damage
def an_escrow_lost(campus: Campus) -> Found:
    order = campus.accepted()
    EscrowTransaction.objects.filter(order_id=order.pk).update(status="CANCELLED")
    return {("I1", f"order {order.pk}")}


@damage
def a_hold_on_a_cancelled_order(campus: Campus) -> Found:
    order = campus.cancelled()
    Payment.objects.filter(order_id=order.pk).update(status="AUTHORIZED")
    return {("I2", f"order {order.pk}")}


@damage
def an_escrow_on_a_failed_order(campus: Campus) -> Found:
    order = campus.cancelled()
    EscrowTransaction.objects.filter(order_id=order.pk).update(status="HELD")
    return {("I2", f"order {order.pk}")}


@damage
def food_on_a_cancelled_order(campus: Campus) -> Found:
    order = campus.cancelled()
    StockReservation.objects.filter(order=order).update(status="HELD")
    MenuItem.objects.update(reserved=F("reserved") + 1)
    return {("I2", f"order {order.pk}")}


@damage
def a_timer_on_a_cancelled_order(campus: Campus) -> Found:
    order = campus.cancelled()
    ScheduledEvent.objects.filter(entity_id=str(order.pk)).mark_scheduled_again()
    return {("I2", f"order {order.pk}")}


@damage
def captured_money_kept_from_a_cancelled_order(campus: Campus) -> Found:
    order = campus.refunded()
    Payment.objects.filter(order_id=order.pk).update(status="CAPTURED", refunded_cents=0, refund_claimed_cents=0)
    payment = f"payment {order.payment_id}"
    return {("I2", f"order {order.pk}"), ("I4", payment), ("I5", payment)}


@damage
def more_refunded_than_captured(campus: Campus) -> Found:
    order = campus.completed()
    Payment.objects.filter(order_id=order.pk).update(refunded_cents=F("captured_cents") + 1)
    payment = f"payment {order.payment_id}"
    return {("I4", payment), ("I5", payment)}


@damage
def a_refund_deleted(campus: Campus) -> Found:
    order = campus.refunded()
    Refund.objects.filter(payment_id=order.payment_id).delete()
    return {("I4", f"payment {order.payment_id}")}


@damage
def a_captured_payment_said_to_be_void(campus: Campus) -> Found:
    order = campus.completed()
    Payment.objects.filter(order_id=order.pk).update(status="VOIDED")
    return {("I4", f"payment {order.payment_id}")}


@damage
def a_ledger_entry_of_another_amount(campus: Campus) -> Found:
    order = campus.completed()
    LedgerEntry.objects.filter(transaction__order_id=order.pk, transaction__kind="CAPTURE").update(amount_cents=1)
    return {("I5", f"payment {order.payment_id}"), ("I5", f"order {order.pk}")}


@damage
def a_ledger_entry_deleted(campus: Campus) -> Found:
    order = campus.completed()
    booked = LedgerTransaction.objects.get(order_id=order.pk, kind="RELEASE")
    LedgerEntry.objects.filter(transaction=booked).delete()
    return {("I5", f"ledger transaction {booked.pk}"), ("I5", f"order {order.pk}")}


@damage
def a_ledger_entry_turned_round(campus: Campus) -> Found:
    order = campus.completed()
    booked = LedgerTransaction.objects.get(order_id=order.pk, kind="CAPTURE")
    LedgerEntry.objects.filter(transaction=booked).update(debit=F("credit"), credit=F("debit"))
    return {("I5", f"ledger transaction {booked.pk}")}


@damage
def a_ledger_transaction_deleted(campus: Campus) -> Found:
    order = campus.accepted()
    LedgerEntry.objects.filter(transaction__order_id=order.pk).delete()
    LedgerTransaction.objects.filter(order_id=order.pk).delete()
    return {("I5", f"payment {order.payment_id}")}


@damage
def stock_off_by_one(campus: Campus) -> Found:
    campus.placed()
    MenuItem.objects.update(reserved=F("reserved") + 1)
    return {("I6", "item product-guid")}


@damage
def more_reserved_than_on_hand(campus: Campus) -> Found:
    campus.placed()
    MenuItem.objects.update(stock=0)
    return {("I6", "item product-guid")}


@damage
def a_reservation_lost(campus: Campus) -> Found:
    order = campus.placed()
    StockReservation.objects.filter(order=order).delete()
    MenuItem.objects.update(reserved=F("reserved") - 1)
    return {("I6", f"order {order.pk}")}


@damage
def an_order_said_to_be_elsewhere(campus: Campus) -> Found:
    order = campus.failed()
    Order.objects.filter(pk=order.pk).update(status="CANCELLED")
    return {("I9", f"order {order.pk}")}


@damage
def an_order_deleted(campus: Campus) -> Found:
    order = campus.failed()
    expected = {("I9", f"order {order.pk}"), ("I13", _key_of(order))}
    order.delete()
    return expected


@damage
def a_key_that_names_another_order(campus: Campus) -> Found:
    order, other = campus.placed(), campus.placed()
    key = _key_of(order)
    _answer_of(order).update(response={"order_id": str(other.pk), "saga_id": str(order.saga_id)})
    return {("I13", key), ("I13", f"order {other.pk}")}


@damage
def a_key_that_names_somebody_elses_order(campus: Campus) -> Found:
    order = campus.placed()
    _answer_of(order).update(user="bob")
    return {("I13", _key_of(order))}


def _answer_of(order: Order) -> Any:
    return IdempotencyKey.objects.filter(response__order_id=str(order.pk))


def _key_of(order: Order) -> str:
    return f"idempotency key {_answer_of(order).get().pk}"


@damage
def an_order_without_its_timer(campus: Campus) -> Found:
    order = campus.placed()
    ScheduledEvent.objects.filter(entity_id=str(order.pk)).delete()
    return {("I14", f"order {order.pk}")}


@damage
def an_order_nobody_times_out(campus: Campus) -> Found:
    order = campus.placed()
    timers = ScheduledEvent.objects.filter(entity_id=str(order.pk))
    timers.mark_fired()
    timers.update(scheduled_at=F("fired_at"))
    Order.objects.filter(pk=order.pk).update(accept_by=F("created_at") - timedelta(minutes=6))
    return {("I14", f"order {order.pk}")}


@damage
def an_order_timed_out_early(campus: Campus) -> Found:
    order = campus.expired()
    Order.objects.filter(pk=order.pk).update(accept_by=F("accept_by") + timedelta(hours=1))
    return {("I14", f"order {order.pk}")}


@damage
def a_timer_that_fired_early(campus: Campus) -> Found:
    order = campus.expired()
    timers = ScheduledEvent.objects.filter(entity_id=str(order.pk))
    timers.update(fired_at=F("scheduled_at") - timedelta(seconds=1))
    return {("I14", f"timer {timers.get().pk}")}


@damage
def a_timer_that_will_never_fire(campus: Campus) -> Found:
    order = campus.placed()
    timers = ScheduledEvent.objects.filter(entity_id=str(order.pk))
    timers.update(due_at=None)
    return {("I14", f"timer {timers.get().pk}")}


@damage
def a_timer_that_is_overlooked(campus: Campus) -> Found:
    order = campus.placed()
    timers = ScheduledEvent.objects.filter(entity_id=str(order.pk))
    timers.update(due_at=F("created_at") - timedelta(minutes=11))
    return {("I14", f"timer {timers.get().pk}")}
