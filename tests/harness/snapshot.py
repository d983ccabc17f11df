"""What the oracle reads: all rows of every app and the payment provider's ledger, each read once."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import F

from orders.models import MenuItem, Order, OrderLine, StockReservation
from payments.models import EscrowTransaction, LedgerEntry, Payment, Refund
from payments.sandbox.models import SandboxIntent, SandboxRefund, SandboxTransfer
from sagas.models import SagaEvent, SagaInstance
from timers.models import ScheduledEvent


@dataclass(frozen=True)
class Breach:
    """One violation of a rule."""

    rule: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.detail}"


class Fact(NamedTuple):
    """The columns of a `SagaEvent` that the rules need: a long run has half a million of these rows."""

    saga_id: uuid.UUID
    seq: int
    action: str
    step: str
    type: str
    attempt: int
    epoch: int
    position: int
    saga_status: str
    published_at: datetime | None
    subject_sequence: int | None


class Booking(NamedTuple):
    """`cents` left the account `debit` and arrived at `credit`."""

    order_id: uuid.UUID
    kind: str
    debit: str
    credit: str
    cents: int


@dataclass
class Snapshot:
    """All rows, by the id they are looked up with.

    `payouts` are releases and reversals of escrow. The provider's rows are `intents` (by order id), `given_back` (by
    intent id) and `transfers` (by order id).
    """

    sagas: list[SagaInstance]
    events: Mapping[uuid.UUID, list[Fact]]
    orders: Mapping[uuid.UUID, Order]
    lines: Mapping[uuid.UUID, list[OrderLine]]
    intents: Mapping[str, list[SandboxIntent]]
    given_back: Mapping[str, list[SandboxRefund]]
    transfers: Mapping[str, list[SandboxTransfer]]
    payments: Mapping[uuid.UUID, list[Payment]]
    refunds: Mapping[uuid.UUID, list[Refund]]
    escrow: Mapping[uuid.UUID, list[EscrowTransaction]]
    payouts: Mapping[str, list[EscrowTransaction]]
    bookings: Mapping[uuid.UUID, list[Booking]]
    reservations: Mapping[uuid.UUID, list[StockReservation]]
    timers: Mapping[str, list[ScheduledEvent]]
    items: list[MenuItem] = field(default_factory=list)


def snapshot(*, provider: str = "default") -> Snapshot:
    """`provider` is the alias of the database with the payment provider's ledger."""
    escrow = EscrowTransaction.objects.all()
    return Snapshot(
        sagas=list(SagaInstance.objects.all()),
        events=_grouped(_facts(), lambda fact: fact.saga_id),
        orders={order.pk: order for order in Order.objects.all()},
        lines=_grouped(OrderLine.objects.all(), lambda line: line.order_id),
        intents=_grouped(SandboxIntent.objects.using(provider), lambda intent: intent.metadata.get("order_id", "")),
        given_back=_grouped(SandboxRefund.objects.using(provider), lambda refund: refund.intent_id),
        transfers=_grouped(SandboxTransfer.objects.using(provider), _order_of_transfer),
        payments=_grouped(Payment.objects.all(), lambda payment: payment.order_id),
        refunds=_grouped(Refund.objects.all(), lambda refund: refund.payment_id),
        escrow=_grouped(escrow.filter(type="HOLD"), lambda hold: hold.order_id),
        payouts=_grouped(escrow.exclude(type="HOLD"), lambda payout: str(payout.order_id)),
        bookings=_grouped(_bookings(), lambda booking: booking.order_id),
        reservations=_grouped(StockReservation.objects.all(), lambda reservation: reservation.order_id),
        timers=_grouped(ScheduledEvent.objects.all(), lambda timer: timer.entity_id),
        items=list(MenuItem.objects.all()),
    )


def _facts() -> Iterable[Fact]:
    rows = SagaEvent.objects.order_by("saga_id", "seq").values_list(*Fact._fields)
    return (Fact._make(row) for row in rows)


def _bookings() -> Iterable[Booking]:
    rows = LedgerEntry.objects.order_by("id").values_list(
        F("transaction__order_id"), F("transaction__kind"), "debit_id", "credit_id", "amount_cents"
    )
    return (Booking._make(row) for row in rows)


def _order_of_transfer(transfer: SandboxTransfer) -> str:
    return transfer.transfer_group.removeprefix("order_")


def _grouped(rows: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups
