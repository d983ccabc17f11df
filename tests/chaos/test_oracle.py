"""The oracle must notice each kind of damage. Each test changes rows by hand and expects one rule to fail."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from orders.models import MenuItem, Order, StockReservation
from orders.use_cases import accept, cancel
from orders.use_cases.place import NewLine
from payments.models import EscrowTransaction, LedgerEntry, Payment
from payments.sandbox.models import SandboxIntent, SandboxRefund, SandboxTransfer
from sagas.models import SagaEvent, SagaInstance
from sagas.outbox.relay import event_id
from sagas.storage import storage
from sagas.testing import Runner
from tests.harness import books, customers, oracle
from tests.harness.customers import Customers, PlannedOrder
from tests.tables import Prefilled
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db


METHODS = {
    "live": customers.VISA, "failed": customers.DECLINED[0], "cancelled": customers.LOSES_REPLY,
    "accepted": customers.VISA, "completed": customers.LOSES_REPLY, "refunded": customers.VISA,
}  # fmt: skip


FEES = {"DELIVERY_FEE": "2.50", "PLATFORM_FEE_BASIS_POINTS": 700}


@pytest.fixture(scope="module")
def orders(prefilled: Prefilled, django_db_blocker: DjangoDbBlocker) -> Iterator[dict[str, uuid.UUID]]:
    """The ids of `orders_at_rest`, committed once for all tests here: each rolls back the damage it does."""
    with django_db_blocker.unblock(), override_settings(**FEES):
        try:
            yield orders_at_rest()
        finally:
            prefilled.restore()


@pytest.fixture
def ids(orders: dict[str, uuid.UUID], db: None) -> dict[str, uuid.UUID]:
    return orders


def orders_at_rest() -> dict[str, uuid.UUID]:
    """One order of each kind: waiting, declined, cancelled, accepted, delivered, refunded after delivery."""
    customers.stock_the_kitchen()
    burgers = [NewLine(sku="burger", name="Burger", price=Decimal("12.99"), quantity=2)]
    orders = {kind: PlannedOrder(at=0, number=0, method=method, lines=burgers) for kind, method in METHODS.items()}
    clients = Customers()
    with Runner() as runner:
        for order in orders.values():
            clients.place(order)
        runner.run_to_end()
        clients.cancel(orders["cancelled"])
        runner.run_to_end()
        for kind in ("accepted", "completed", "refunded"):
            _deliver(orders[kind].order_id, kind, runner)
    storage().number_events(1_000)
    SagaEvent.objects.exclude(type="").update(published_at=timezone.now())
    return {kind: uuid.UUID(order.order_id) for kind, order in orders.items()}


def _deliver(order_id: str, kind: str, runner: Runner) -> None:
    accept.accept(Order.objects.get(pk=order_id), runner="rosa")
    runner.run_to_end()
    if kind == "accepted":
        return
    accept.complete(Order.objects.get(pk=order_id))
    runner.run_to_end()
    if kind == "refunded":
        cancel.refund(Order.objects.get(pk=order_id), reason_code="other", reason="Cold", actor="olga")
        runner.run_to_end()


def _saga(order_id: uuid.UUID) -> Any:
    return SagaInstance.objects.filter(subject=str(order_id))


def _events(order_id: uuid.UUID) -> Any:
    return SagaEvent.objects.filter(saga_id=_saga(order_id).get().pk)


def _copy(row: Any, **changes: Any) -> None:
    row.pk = None
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(force_insert=True)


def _append(order_id: uuid.UUID, like: str) -> None:
    """Add a copy of an earlier event, with the next number."""
    saga = _saga(order_id).get()
    last = _events(order_id).last()
    _copy(
        _events(order_id).filter(action=like).last(), seq=saga.seq + 1, saga_status=last.saga_status,
        position=last.position, epoch=last.epoch,
    )  # fmt: skip
    _saga(order_id).update(seq=saga.seq + 1)


def _swap_undos(order_id: uuid.UUID) -> None:
    first, second = _events(order_id).filter(action="undo_completed")[:2]
    SagaEvent.objects.filter(pk=first.pk).update(step=second.step, type=second.type)
    SagaEvent.objects.filter(pk=second.pk).update(step=first.step, type=first.type)


def _intent(order_id: uuid.UUID) -> Any:
    return SandboxIntent.objects.filter(metadata__order_id=str(order_id))


def _orphan_intent(order_id: uuid.UUID) -> None:
    _copy_intent(order_id, metadata={"order_id": str(uuid.uuid4())})


def _copy_intent(order_id: uuid.UUID, **changes: Any) -> None:
    intent = _intent(order_id).get()
    intent.pk = "pi_copy"
    for name, value in changes.items():
        setattr(intent, name, value)
    intent.save(force_insert=True)


def _accept_again(order_id: uuid.UUID) -> None:
    saga = _saga(order_id).get(name="accept_order")
    saga.pk, saga.key = uuid.uuid4(), "again"
    saga.save(force_insert=True)


def _book_again(order_id: uuid.UUID) -> None:
    entry = LedgerEntry.objects.get(transaction__order_id=order_id)
    entry.pk = None
    entry.save(force_insert=True)


def _releases(order_id: uuid.UUID) -> Any:
    return EscrowTransaction.objects.filter(order_id=order_id, type="RELEASE", recipient_type="restaurant")


def _transfers(order_id: uuid.UUID) -> Any:
    return SandboxTransfer.objects.filter(transfer_group=f"order_{order_id}")


Ids = dict[str, uuid.UUID]
#: What is done to the rows, and the rule that must find it.
DAMAGES: dict[str, tuple[Callable[[Ids], Any], str]] = {
    "a saga is not finished": (
        lambda ids: _saga(ids["live"]).update(
            status="STARTED", phase="READY", wake_at=timezone.now(), finished_at=None
        ),
        "saga not finished",
    ),
    "a saga is parked": (
        lambda ids: _saga(ids["live"]).update(
            status="NEEDS_ATTENTION", phase="PARKED", resume_status="STARTED", error="stuck", finished_at=None
        ),
        "saga not finished",
    ),
    "a lease stays": (
        lambda ids: _saga(ids["live"]).update(lease_token=1, lease_until=timezone.now(), state_seq=0),
        "lease left behind",
    ),
    "an event is deleted": (lambda ids: _events(ids["live"]).filter(seq=3).delete(), "history and row differ"),
    "an event is added": (lambda ids: _copy(_events(ids["live"]).get(seq=3), seq=99), "history and row differ"),
    "the row was changed past its history": (
        lambda ids: _saga(ids["live"]).update(position=F("position") - 1),
        "history and row differ",
    ),
    "a saga's row is gone": (lambda ids: _saga(ids["live"]).delete(), "history and row differ"),
    "a finished saga runs again": (
        lambda ids: _events(ids["failed"]).filter(action="undo_completed").update(saga_status="STARTED"),
        "history and row differ",
    ),
    "the epoch went down": (
        lambda ids: _events(ids["failed"]).filter(action="finished").update(epoch=1),
        "epoch went down",
    ),
    "a step is done twice": (lambda ids: _append(ids["live"], "step_completed"), "done twice"),
    "an undo is done twice": (lambda ids: _append(ids["failed"], "undo_completed"), "done twice"),
    "an undo is left out": (
        lambda ids: _events(ids["cancelled"]).filter(step="revert_payment").update(step=""),
        "undone wrongly",
    ),
    "undos are not in reverse": (lambda ids: _swap_undos(ids["cancelled"]), "undone wrongly"),
    "a finished saga was undone": (
        lambda ids: (
            _events(ids["live"])
            .filter(action="step_completed", step="start_timer")
            .update(action="undo_completed", step="cancel_timer")
        ),
        "completed with steps left out",
    ),
    "a step is skipped": (
        lambda ids: _events(ids["live"]).filter(step="reserve_inventory").update(step="hold_escrow"),
        "steps out of order",
    ),
    "an order is lost": (
        lambda ids: Order.objects.filter(pk=ids["live"]).delete(),
        "order lost",
    ),
    "an order has no saga": (
        lambda ids: (_events(ids["live"]).delete(), _saga(ids["live"]).delete()),
        "order without a saga",
    ),
    "order and saga disagree": (
        lambda ids: Order.objects.filter(pk=ids["live"]).update(status="FAILED"),
        "order and saga differ",
    ),
    "the hold of a live order is gone": (
        lambda ids: _intent(ids["live"]).update(status="canceled"),
        "live order without its authorization",
    ),
    "the hold of a live order is too small": (
        lambda ids: _intent(ids["live"]).update(amount_capturable=1),
        "live order without its authorization",
    ),
    "two holds for a live order": (lambda ids: _copy_intent(ids["live"]), "live order without its authorization"),
    "a failed order keeps a hold": (
        lambda ids: _intent(ids["failed"]).update(status="requires_capture"),
        "leaked authorization",
    ),
    "a cancelled order keeps its hold": (
        lambda ids: _intent(ids["cancelled"]).update(status="requires_capture"),
        "leaked authorization",
    ),
    "a hold for no order": (lambda ids: _orphan_intent(ids["live"]), "leaked authorization"),
    "a second intent, cancelled": (lambda ids: _copy_intent(ids["live"], status="canceled"), "authorized twice"),
    "our row says voided, the provider says held": (
        lambda ids: Payment.objects.filter(order_id=ids["live"]).update(status="VOIDED"),
        "payment and provider differ",
    ),
    "our row says held, the provider says voided": (
        lambda ids: Payment.objects.filter(order_id=ids["cancelled"]).update(status="AUTHORIZED"),
        "payment and provider differ",
    ),
    "escrow of a live order is gone": (
        lambda ids: EscrowTransaction.objects.filter(order_id=ids["live"]).delete(),
        "live order without its escrow",
    ),
    "escrow of a cancelled order stays": (
        lambda ids: EscrowTransaction.objects.filter(order_id=ids["cancelled"]).update(status="HELD"),
        "leaked escrow",
    ),
    "food of a live order was given back": (
        lambda ids: StockReservation.objects.filter(order=ids["live"]).update(status="RELEASED"),
        "live order without its food",
    ),
    "food of a failed order stays": (
        lambda ids: StockReservation.objects.filter(order=ids["failed"]).update(status="HELD"),
        "leaked reservation",
    ),
    "stock does not add up": (lambda ids: MenuItem.objects.update(reserved=F("reserved") + 1), "stock does not add up"),
    "no timer for a live order": (
        lambda ids: ScheduledEvent.objects.filter(entity_id=str(ids["live"])).delete(),
        "live order without its timer",
    ),
    "a timer for a cancelled order": (
        lambda ids: ScheduledEvent.objects.filter(entity_id=str(ids["cancelled"])).update(status="SCHEDULED"),
        "leaked timer",
    ),
    "an order is not at rest": (
        lambda ids: Order.objects.filter(pk=ids["live"]).update(status="CANCELLING"),
        "order not at rest",
    ),
    "two runners have it": (lambda ids: _accept_again(ids["accepted"]), "won twice"),
    "nobody has it": (
        lambda ids: _saga(ids["accepted"]).filter(name="accept_order").update(status="COMPENSATED", direction="BACK"),
        "won by nobody",
    ),
    "food of a delivered order is still there": (
        lambda ids: StockReservation.objects.filter(order=ids["completed"]).update(status="RELEASED"),
        "food not handed over",
    ),
    "a timer for an accepted order": (
        lambda ids: ScheduledEvent.objects.filter(entity_id=str(ids["accepted"])).update(status="SCHEDULED"),
        "leaked timer",
    ),
    "a cent less was captured": (
        lambda ids: _intent(ids["accepted"]).update(amount_received=F("amount_received") - 1),
        "order not paid",
    ),
    "a cent was not given back": (
        lambda ids: _intent(ids["refunded"]).update(amount_refunded=F("amount_refunded") - 1),
        "money kept",
    ),
    "a capture is not finished": (
        lambda ids: Payment.objects.filter(order_id=ids["accepted"]).update(status="CAPTURING"),
        "payment not settled",
    ),
    "a refund the provider does not know": (
        lambda ids: SandboxRefund.objects.filter(intent_id=_intent(ids["refunded"]).get().pk).delete(),
        "refunds differ",
    ),
    "a payout is not finished": (
        lambda ids: _releases(ids["completed"]).update(status="PENDING"),
        "payout not finished",
    ),
    "a cent less was paid out": (
        lambda ids: _releases(ids["completed"]).update(amount_cents=F("amount_cents") - 1),
        "paid out wrongly",
    ),
    "the provider paid a cent less": (
        lambda ids: _transfers(ids["completed"]).update(amount=F("amount") - 1),
        "payouts and transfers differ",
    ),
    "somebody else was paid": (
        lambda ids: _transfers(ids["completed"]).update(destination="stranger"),
        "balance differs",
    ),
    "a payout was not taken back": (
        lambda ids: _transfers(ids["refunded"]).update(amount_reversed=0),
        "payouts and transfers differ",
    ),
    "a capture is booked twice": (lambda ids: _book_again(ids["accepted"]), "ledger differs"),
    "delivered, but nobody was paid": (
        lambda ids: Order.objects.filter(pk=ids["accepted"]).update(status="COMPLETED"),
        "money left in escrow",
    ),
    "a fact without its event": (
        lambda ids: _events(ids["live"]).filter(step="confirm_order").update(type=""),
        "event missing",
    ),
    "an event of an order has no number": (
        lambda ids: _events(ids["live"]).filter(seq=1).update(subject_sequence=None),
        "event numbers have gaps",
    ),
    "an event was never sent": (
        lambda ids: _events(ids["live"]).filter(seq=1).update(published_at=None),
        "event not published",
    ),
}


def test_good_orders_are_no_breach(ids: Ids) -> None:
    seen = oracle.snapshot()
    assert oracle.judge(seen) == []
    assert oracle.statuses(seen)[0] == {"CREATED": 1, "FAILED": 1, "CANCELLED": 2, "ACCEPTED": 1, "COMPLETED": 1}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_noticed(name: str, ids: Ids) -> None:
    damage, rule = DAMAGES[name]
    damage(ids)
    breaches = oracle.judge()
    assert rule in {breach.rule for breach in breaches}, [str(breach) for breach in breaches]


def test_every_rule_has_its_damage(ids: Ids) -> None:
    """Without this a rule could be added that never finds anything."""
    source = Path(oracle.__file__).read_text() + Path(books.__file__).read_text()
    named = set(re.findall(r'yield Breach\("([^"]+)"', source)) - {"events out of order"}
    assert named == {rule for _, rule in DAMAGES.values()}


def test_lost_events_and_inversions_are_noticed(ids: Ids) -> None:
    seen = oracle.snapshot()
    good = [
        oracle.Received(str(event_id(event.saga_id, event.seq)), str(event.saga_id), event.seq)
        for events in seen.events.values()
        for event in events
        if event.type
    ]
    assert oracle.events_arrived(seen, good) == []
    assert oracle.events_arrived(seen, [*good, good[0]]) == []  # a copy is legal
    assert {breach.rule for breach in oracle.events_arrived(seen, good[1:])} == {"event lost"}
    assert {breach.rule for breach in oracle.events_arrived(seen, good[::-1])} == {"events out of order"}
    acceptance = str(_saga(ids["accepted"]).get(name="accept_order").pk)
    too_early = sorted(good, key=lambda event: event.saga_id != acceptance)
    assert {breach.rule for breach in oracle.events_arrived(seen, too_early)} == {"events out of order"}
    unknown = oracle.Received(str(uuid.uuid4()), str(uuid.uuid4()), 1)
    assert {breach.rule for breach in oracle.events_arrived(seen, [*good, unknown])} == {"event of nothing committed"}
