"""`manage.py verify`: silent about whatever a healthy system does, and it finds each kind of damage done by hand."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import InternalError, OperationalError, connection, models, transaction
from django.db.models import F

from orders.models import MenuItem, Order, StockReservation
from orders.sagas import create_order
from payments.models import EscrowTransaction, LedgerEntry, LedgerTransaction, Payment, Refund
from sagas.definition.saga import Compensation
from sagas.engine import commands
from sagas.failpoints import Failpoint, installed
from sagas.holds import holds
from sagas.machine.transitions import TRANSITIONS
from sagas.models import IdempotencyKey, SagaEvent, SagaInstance
from sagas.statuses import Action
from sagas.storage import clock
from sagas.testing import Runner
from sagas.verification import verify as verifying
from tests.orders.campus import DECLINED, FATES, Campus, Found, found, publish_all
from tests.tables import empty_tables, tables
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
LEDGER = ("payments_ledgertransaction", "payments_ledgerentry")
#: Places where a transaction is open; a snapshot is taken between transactions.
INSIDE = {
    Failpoint.STEP_MATCHED, Failpoint.STEP_MOVED, Failpoint.STEP_DONE, Failpoint.CALL_RECORDING,
    Failpoint.FAILURE_RECORDING,
}  # fmt: skip


@pytest.fixture
def campus(transactional_db: None) -> Iterator[Campus]:
    with Runner() as runner:
        yield Campus.opened(runner)


# -- healthy --------------------------------------------------------------------------------------------------------
def test_orders_of_every_fate_are_in_order(campus: Campus) -> None:
    assert campus.expired().status == "CANCELLED"
    assert campus.refunded().status == "CANCELLED"
    for status, come_to in FATES.items():
        assert come_to(campus).status == status
    publish_all()
    assert found() == set()


@pytest.mark.slow
@pytest.mark.parametrize("run_inline", [True, False], ids=["inline", "a message a step"])
@pytest.mark.parametrize("fate", [*FATES.values(), Campus.refunded, Campus.expired], ids=lambda fate: fate.__name__)
def test_nothing_is_found_at_any_commit_on_the_way(campus: Campus, fate: Any, run_inline: bool) -> None:
    looked: list[Failpoint] = []

    def look(point: Failpoint) -> None:
        if point not in INSIDE and not connection.in_atomic_block:
            looked.append(point)
            assert found() == set(), point

    campus.runner.run_inline = run_inline
    with installed(look):
        fate(campus)
    assert {Failpoint.START_COMMITTED, Failpoint.STEP_COMMITTED, Failpoint.CALL_COMMITTED} <= set(looked)


@pytest.mark.slow
@pytest.mark.parametrize("steps_done", range(9))
def test_nothing_is_found_while_a_saga_is_cancelled_from_any_step(campus: Campus, steps_done: int) -> None:
    campus.runner.run_inline = False
    order = campus.place()
    for _ in range(steps_done):
        campus.runner.deliver()
    commands.cancel(order.saga_id, reason_code="other", reason="", actor="olga")
    assert found() == set()
    while campus.runner.deliver() or campus.runner.wait_for_next():
        assert found() == set()
    order.refresh_from_db()
    assert order.status == "CANCELLED"


def test_a_parked_saga_is_no_breach_and_neither_is_what_an_operator_makes_of_it(campus: Campus) -> None:
    for settle in (commands.retry, commands.skip, commands.close):
        with a_compensation_that_fails():
            order = campus.place(payment_method=DECLINED)
            campus.runner.run_to_end()
        assert SagaInstance.objects.get(pk=order.saga_id).status == "NEEDS_ATTENTION"
        assert found() == set()
        if settle is not commands.retry:
            StockReservation.objects.filter(order=order).update(status="RELEASED")
            MenuItem.objects.update(reserved=0)
        settle(order.saga_id, reason="mended", actor="olga")
        campus.runner.run_to_end()
        assert found() == set()


@pytest.mark.parametrize("way_out", ["released", "cancelled"])
def test_nothing_is_found_while_sagas_wait_for_the_provider(campus: Campus, way_out: str) -> None:
    order = campus.place()
    holds.hold_dependency("stripe", reason="down", actor="olga")
    campus.runner.run()
    assert SagaInstance.objects.get(pk=order.saga_id).held_by == "stripe"
    assert found() == set()
    if way_out == "cancelled":
        commands.cancel(order.saga_id, reason_code="other", reason="", actor="olga")
        campus.runner.run()
        assert found() == set()
    holds.release_dependency("stripe", reason="up", actor="olga")
    campus.runner.run_to_end()
    assert found() == set()
    order.refresh_from_db()
    assert order.status == ("CREATED" if way_out == "released" else "CANCELLED")


def test_every_fact_the_engine_can_state_is_understood() -> None:
    assert set(TRANSITIONS) == set(Action)


def test_another_writer_is_neither_waited_for_nor_seen(campus: Campus) -> None:
    """The snapshot is of one moment: what is committed while it is looked at does not show, and is not held up."""
    order = campus.placed()
    with verifying.snapshot():
        assert Order.objects.count() == 1
        _in_another_thread(lambda: Order.objects.filter(pk=order.pk).update(reason="seen"))
        assert Order.objects.get(pk=order.pk).reason == ""
    assert Order.objects.get(pk=order.pk).reason == "seen"


def test_it_cannot_write(campus: Campus) -> None:
    with pytest.raises((InternalError, OperationalError), match=r"read-only|readonly"), verifying.snapshot():
        MenuItem.objects.update(stock=1)
    MenuItem.objects.update(stock=2)
    assert MenuItem.objects.get().stock == 2


@contextmanager
def a_compensation_that_fails() -> Iterator[None]:
    """Nothing gives the food back while this lasts."""
    before = create_order.steps

    @functools.wraps(before[2].compensation.function)
    def fail(**_: Any) -> None:
        raise ConnectionError("reset")

    create_order.steps = [*before[:2], dataclasses.replace(before[2], compensation=Compensation(fail)), *before[3:]]
    try:
        yield
    finally:
        create_order.steps = before


def _in_another_thread(work: Callable[[], Any]) -> None:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive(), "the writer waits for the reader"


# -- damage done by hand --------------------------------------------------------------------------------------------
@contextmanager
def unprotected() -> Iterator[None]:
    """The tables as a superuser can make them: no CHECK, no ledger trigger, several payments for one order. In the end
    they are emptied and get their protection back."""
    unique = Payment._meta.get_field("order_id")
    several = models.UUIDField()
    several.set_attributes_from_name("order_id")
    several.model = Payment
    guards = _drop_the_guards()
    _alter(unique, several)
    try:
        yield
    finally:
        empty_tables()
        _alter(several, unique)
        _execute(guards)


def _drop_the_guards() -> list[str]:
    """Answers the statements that put them back."""
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


def saga_of(order: Order) -> str:
    return f"saga {order.saga_id}"


def history_of(order: Order) -> Any:
    return SagaEvent.objects.filter(saga_id=order.saga_id)


def a_fact_deleted_from_the_middle(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).filter(seq=4).delete()
    return {("I9", saga_of(order))}


def the_last_fact_deleted(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).order_by("-seq").first().delete()
    return {("I9", saga_of(order))}


def a_whole_history_deleted(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).delete()
    return {("I9", saga_of(order))}


def a_fact_that_says_another_step(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).filter(action="step_completed", step="get_payment_info").update(step="validate_payment_info")
    return {("I9", saga_of(order)), ("I11", saga_of(order))}


def a_fact_that_says_another_position(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).filter(action="step_completed", step="hold_escrow").update(position=3)
    return {("I9", saga_of(order))}


def undos_in_another_order(campus: Campus) -> Found:
    order = campus.cancelled()
    for step, swapped in (("cancel_escrow", "x"), ("revert_payment", "cancel_escrow"), ("x", "revert_payment")):
        history_of(order).filter(action="undo_completed", step=step).update(step=swapped)
    return {("I9", saga_of(order)), ("I11", saga_of(order))}


def a_fact_recorded_twice(campus: Campus) -> Found:
    order = campus.placed()
    fact = history_of(order).get(action="step_completed", step="hold_escrow")
    last = history_of(order).order_by("seq").last()
    fact.pk, fact.seq = None, last.seq + 1
    fact.save(force_insert=True)
    SagaInstance.objects.filter(pk=order.saga_id).update(seq=F("seq") + 1)
    return {("I8", saga_of(order)), ("I9", saga_of(order))}


def a_saga_said_to_be_elsewhere(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).update(status="COMPENSATED", direction="BACK")
    return {("I9", saga_of(order)), ("I9", f"order {order.pk}")}


def a_saga_said_to_be_in_another_phase(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).update(phase="READY")
    return {("I7", saga_of(order)), ("I9", saga_of(order))}


def a_call_said_to_have_run(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).update(may_have_run=True)
    return {("I9", saga_of(order))}


def a_saga_with_another_epoch(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).update(epoch=7)
    return {("I9", saga_of(order))}


def a_saga_deleted(campus: Campus) -> Found:
    order = campus.placed()
    SagaInstance.objects.filter(pk=order.saga_id).delete()
    return {("I9", saga_of(order)), ("I9", f"order {order.pk}")}


def a_saga_that_nothing_will_wake(campus: Campus) -> Found:
    order = campus.place()
    SagaInstance.objects.filter(pk=order.saga_id).update(wake_at=None)
    return {("I7", saga_of(order))}


def a_saga_that_is_overlooked(campus: Campus) -> Found:
    order = campus.place()
    SagaInstance.objects.filter(pk=order.saga_id).update(wake_at=F("wake_at") - timedelta(minutes=11))
    return {("I7", saga_of(order))}


def an_event_robbed_of_its_name(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).filter(step="authorize_payment", action="step_completed").update(type="")
    return {("I11", saga_of(order))}


def an_event_never_published(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).update(published_at=F("created_at"))
    history_of(order).filter(action="finished").update(
        published_at=None, created_at=F("created_at") - timedelta(minutes=11)
    )
    return {("I11", saga_of(order))}


def an_event_overtaken(campus: Campus) -> Found:
    order = campus.placed()
    history_of(order).exclude(seq=2).update(published_at=F("created_at"))
    return {("I11", saga_of(order))}


def an_event_without_its_number(campus: Campus) -> Found:
    order = campus.placed()
    publish_all()
    history_of(order).filter(type="order.created").update(subject_sequence=None)
    return {("I11", f"subject {order.pk}")}


def an_authorization_lost(campus: Campus) -> Found:
    order = campus.placed()
    Payment.objects.filter(order_id=order.pk).update(status="VOIDED")
    return {("I1", f"order {order.pk}")}


def an_authorization_of_another_amount(campus: Campus) -> Found:
    order = campus.placed()
    Payment.objects.filter(order_id=order.pk).update(amount_cents=1, authorized_cents=1)
    return {("I1", f"order {order.pk}")}


def two_live_authorizations(campus: Campus) -> Found:
    order = campus.placed()
    payment = Payment.objects.get(order_id=order.pk)
    payment.pk, payment.intent_id = uuid.uuid4(), "pi_second"
    payment.save(force_insert=True)
    return {("I3", f"order {order.pk}")}


def an_escrow_lost(campus: Campus) -> Found:
    order = campus.accepted()
    EscrowTransaction.objects.filter(order_id=order.pk).update(status="CANCELLED")
    return {("I1", f"order {order.pk}")}


def a_hold_on_a_cancelled_order(campus: Campus) -> Found:
    order = campus.cancelled()
    Payment.objects.filter(order_id=order.pk).update(status="AUTHORIZED")
    return {("I2", f"order {order.pk}")}


def an_escrow_on_a_failed_order(campus: Campus) -> Found:
    order = campus.cancelled()
    EscrowTransaction.objects.filter(order_id=order.pk).update(status="HELD")
    return {("I2", f"order {order.pk}")}


def food_on_a_cancelled_order(campus: Campus) -> Found:
    order = campus.cancelled()
    StockReservation.objects.filter(order=order).update(status="HELD")
    MenuItem.objects.update(reserved=F("reserved") + 1)
    return {("I2", f"order {order.pk}")}


def a_timer_on_a_cancelled_order(campus: Campus) -> Found:
    order = campus.cancelled()
    ScheduledEvent.objects.filter(entity_id=str(order.pk)).mark_scheduled_again()
    return {("I2", f"order {order.pk}")}


def captured_money_kept_from_a_cancelled_order(campus: Campus) -> Found:
    order = campus.refunded()
    Payment.objects.filter(order_id=order.pk).update(status="CAPTURED", refunded_cents=0, refund_claimed_cents=0)
    payment = f"payment {order.payment_id}"
    return {("I2", f"order {order.pk}"), ("I4", payment), ("I5", payment)}


def more_refunded_than_captured(campus: Campus) -> Found:
    order = campus.completed()
    Payment.objects.filter(order_id=order.pk).update(refunded_cents=F("captured_cents") + 1)
    payment = f"payment {order.payment_id}"
    return {("I4", payment), ("I5", payment)}


def a_refund_deleted(campus: Campus) -> Found:
    order = campus.refunded()
    Refund.objects.filter(payment_id=order.payment_id).delete()
    return {("I4", f"payment {order.payment_id}")}


def a_captured_payment_said_to_be_void(campus: Campus) -> Found:
    order = campus.completed()
    Payment.objects.filter(order_id=order.pk).update(status="VOIDED")
    return {("I4", f"payment {order.payment_id}")}


def a_ledger_entry_of_another_amount(campus: Campus) -> Found:
    order = campus.completed()
    LedgerEntry.objects.filter(transaction__order_id=order.pk, transaction__kind="CAPTURE").update(amount_cents=1)
    return {("I5", f"payment {order.payment_id}"), ("I5", f"order {order.pk}")}


def a_ledger_entry_deleted(campus: Campus) -> Found:
    order = campus.completed()
    booked = LedgerTransaction.objects.get(order_id=order.pk, kind="RELEASE")
    LedgerEntry.objects.filter(transaction=booked).delete()
    return {("I5", f"ledger transaction {booked.pk}"), ("I5", f"order {order.pk}")}


def a_ledger_entry_turned_round(campus: Campus) -> Found:
    order = campus.completed()
    booked = LedgerTransaction.objects.get(order_id=order.pk, kind="CAPTURE")
    LedgerEntry.objects.filter(transaction=booked).update(debit=F("credit"), credit=F("debit"))
    return {("I5", f"ledger transaction {booked.pk}")}


def a_ledger_transaction_deleted(campus: Campus) -> Found:
    order = campus.accepted()
    LedgerEntry.objects.filter(transaction__order_id=order.pk).delete()
    LedgerTransaction.objects.filter(order_id=order.pk).delete()
    return {("I5", f"payment {order.payment_id}")}


def stock_off_by_one(campus: Campus) -> Found:
    campus.placed()
    MenuItem.objects.update(reserved=F("reserved") + 1)
    return {("I6", "item product-guid")}


def more_reserved_than_on_hand(campus: Campus) -> Found:
    campus.placed()
    MenuItem.objects.update(stock=0)
    return {("I6", "item product-guid")}


def a_reservation_lost(campus: Campus) -> Found:
    order = campus.placed()
    StockReservation.objects.filter(order=order).delete()
    MenuItem.objects.update(reserved=F("reserved") - 1)
    return {("I6", f"order {order.pk}")}


def an_order_said_to_be_elsewhere(campus: Campus) -> Found:
    order = campus.failed()
    Order.objects.filter(pk=order.pk).update(status="CANCELLED")
    return {("I9", f"order {order.pk}")}


def an_order_deleted(campus: Campus) -> Found:
    order = campus.failed()
    expected = {("I9", f"order {order.pk}"), ("I13", _key_of(order))}
    order.delete()
    return expected


def a_key_that_names_another_order(campus: Campus) -> Found:
    order, other = campus.placed(), campus.placed()
    key = _key_of(order)
    _answer_of(order).update(response={"order_id": str(other.pk), "saga_id": str(order.saga_id)})
    return {("I13", key), ("I13", f"order {other.pk}")}


def a_key_that_names_somebody_elses_order(campus: Campus) -> Found:
    order = campus.placed()
    _answer_of(order).update(user="bob")
    return {("I13", _key_of(order))}


def _answer_of(order: Order) -> Any:
    return IdempotencyKey.objects.filter(response__order_id=str(order.pk))


def _key_of(order: Order) -> str:
    return f"idempotency key {_answer_of(order).get().pk}"


def an_order_without_its_timer(campus: Campus) -> Found:
    order = campus.placed()
    ScheduledEvent.objects.filter(entity_id=str(order.pk)).delete()
    return {("I14", f"order {order.pk}")}


def an_order_nobody_times_out(campus: Campus) -> Found:
    order = campus.placed()
    timers = ScheduledEvent.objects.filter(entity_id=str(order.pk))
    timers.mark_fired()
    timers.update(scheduled_at=F("fired_at"))
    Order.objects.filter(pk=order.pk).update(accept_by=F("created_at") - timedelta(minutes=6))
    return {("I14", f"order {order.pk}")}


def an_order_timed_out_early(campus: Campus) -> Found:
    order = campus.expired()
    Order.objects.filter(pk=order.pk).update(accept_by=F("accept_by") + timedelta(hours=1))
    return {("I14", f"order {order.pk}")}


def a_timer_that_fired_early(campus: Campus) -> Found:
    order = campus.expired()
    timers = ScheduledEvent.objects.filter(entity_id=str(order.pk))
    timers.update(fired_at=F("scheduled_at") - timedelta(seconds=1))
    return {("I14", f"timer {timers.get().pk}")}


def a_timer_that_will_never_fire(campus: Campus) -> Found:
    order = campus.placed()
    timers = ScheduledEvent.objects.filter(entity_id=str(order.pk))
    timers.update(due_at=None)
    return {("I14", f"timer {timers.get().pk}")}


def a_timer_that_is_overlooked(campus: Campus) -> Found:
    order = campus.placed()
    timers = ScheduledEvent.objects.filter(entity_id=str(order.pk))
    timers.update(due_at=F("created_at") - timedelta(minutes=11))
    return {("I14", f"timer {timers.get().pk}")}


DAMAGES: tuple[Damage, ...] = (
    a_fact_deleted_from_the_middle, the_last_fact_deleted, a_whole_history_deleted, a_fact_that_says_another_step,
    a_fact_that_says_another_position, undos_in_another_order, a_fact_recorded_twice, a_saga_said_to_be_elsewhere,
    a_saga_with_another_epoch, a_saga_deleted, a_saga_that_nothing_will_wake, a_saga_that_is_overlooked,
    an_event_robbed_of_its_name, an_event_never_published, an_event_overtaken,
    an_event_without_its_number, an_authorization_lost,
    an_authorization_of_another_amount, two_live_authorizations, an_escrow_lost, a_hold_on_a_cancelled_order,
    an_escrow_on_a_failed_order, food_on_a_cancelled_order, a_timer_on_a_cancelled_order,
    captured_money_kept_from_a_cancelled_order, more_refunded_than_captured, a_refund_deleted,
    a_captured_payment_said_to_be_void, a_ledger_entry_of_another_amount, a_ledger_entry_deleted,
    a_ledger_entry_turned_round, a_ledger_transaction_deleted, stock_off_by_one, more_reserved_than_on_hand,
    a_reservation_lost, an_order_said_to_be_elsewhere, an_order_deleted, a_key_that_names_another_order,
    a_key_that_names_somebody_elses_order, an_order_without_its_timer, an_order_nobody_times_out,
    an_order_timed_out_early, a_timer_that_fired_early, a_timer_that_will_never_fire, a_timer_that_is_overlooked,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_damage_is_found_and_nothing_else_is_blamed(campus: Campus) -> None:
    """One healthy campus, damaged in one way after the other; what each way should show, beside what was shown."""
    for come_to in FATES.values():
        come_to(campus)
    publish_all()
    assert found() == set()
    seen = {}
    with unprotected(), copied() as put_back:
        for damage in DAMAGES:
            with clock.moved():
                expected = damage(campus)
                seen[damage.__name__] = (found(), expected)
            campus.runner.lose_messages()
            put_back()
        assert found() == set()
    assert {name: both for name, both in seen.items() if both[0] != both[1]} == {}


def test_the_damages_break_every_invariant() -> None:
    """An invariant that nothing breaks may just as well be blind."""
    assert len(DAMAGES) > 40
    assert {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I11", "I13", "I14"} == set(verifying.codes())


# -- the command ----------------------------------------------------------------------------------------------------
def verify(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `manage.py verify`."""
    output = io.StringIO()
    try:
        call_command("verify", *arguments, stdout=output)
    except SystemExit as ended:
        return int(str(ended.code)), output.getvalue()
    return 0, output.getvalue()


def test_the_command_prints_each_invariant_with_its_figure(campus: Campus) -> None:
    campus.placed()
    code, output = verify()
    lines = output.splitlines()
    assert code == 0
    assert len(lines) == len(verifying.invariants()) + 3
    [authorized] = [line for line in lines if "one authorization of its total" in line]
    assert authorized.split() == [
        "I1", "a", "created", "or", "accepted", "order", "has", "one", "authorization", "of", "its", "total",
        "1", "orders", "0",
    ]  # fmt: skip
    assert lines[-1].startswith(f"All {len(verifying.invariants())} invariants hold")


def test_the_command_names_what_it_found_and_what_to_do(campus: Campus) -> None:
    orders = [campus.placed() for _ in range(3)]
    ScheduledEvent.objects.all().delete()
    code, output = verify("--limit", "2", "--only", "i14,I6")
    assert code == 1
    assert "I14 BROKEN: an order that waits for a runner has its timer: 3 breaches" in output
    assert [str(order.pk) in output for order in orders] == [True, True, False]
    assert "… and 1 more (--limit)" in output
    assert "next: The order sweep will cancel it" in output
    assert "I5" not in output
    assert "3 breaches, as of " in output


def test_the_command_speaks_json(campus: Campus) -> None:
    order = campus.placed()
    MenuItem.objects.update(reserved=F("reserved") + 1)
    code, output = verify("--json", "--only", "I6")
    document = json.loads(output)
    assert code == document["breaches"] == 1
    [stock, food] = document["invariants"]
    assert (stock["code"], stock["looked_at"], stock["of"], stock["breaches"]) == ("I6", 1, "items", 1)
    assert stock["examples"] == [{"subject": "item product-guid", "detail": "2 reserved, 1 in reservations of orders"}]
    assert stock["advice"]
    assert food["breaches"] == 0
    assert order.status == "CREATED"


def test_the_command_refuses_what_is_no_invariant(db: None) -> None:
    with pytest.raises(CommandError, match="I99 is none of I1, I2"):
        verify("--only", "I99")


def test_without_tables_it_says_that_it_could_not_look(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "CAMPUSG_BOOTSTRAP": "0",
        "CAMPUSG_ENV_FILE": os.devnull,
        "CAMPUSG_VAR_DIR": str(tmp_path),
    }
    command = [sys.executable, "manage.py", "verify"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "manage.py migrate" in done.stderr
    assert "Traceback" not in done.stderr
