"""Booking money: customer to escrow at capture, escrow to restaurant, runner and platform at release, and back.

An authorization books nothing, because it moves no money. For each order: captured = released + returned + held. Every
entry has two sides, so the balances of all accounts add up to zero. All amounts are cents.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q, Sum

from payments.models import AccountKind, LedgerAccount, LedgerEntry, LedgerTransaction, LedgerTransactionKind, Payment

LEDGER_NAMESPACE = uuid.UUID("6f1d6a0e-3c55-5f3f-9d0b-0c4a2b6f9e11")


@dataclass(frozen=True, kw_only=True)
class Side:
    """An account: its kind and who holds it (a user, an account at the provider, or nobody for escrow and platform)."""

    kind: AccountKind
    holder: str = ""


@dataclass(frozen=True, kw_only=True)
class Move:
    """Cents that go from the account `debit` to the account `credit`."""

    debit: Side
    credit: Side
    cents: int


@dataclass(frozen=True, kw_only=True)
class Position:
    """One order's money in escrow, in cents."""

    captured: int
    released: int
    returned: int

    @property
    def held(self) -> int:
        return self.captured - self.released - self.returned


ESCROW = Side(kind=AccountKind.ESCROW)


def book(kind: LedgerTransactionKind, key: str, payment: Payment, moves: Sequence[Move]) -> None:
    """Append one ledger transaction, inside the caller's database transaction. The same key twice is booked once."""
    booked, is_new = LedgerTransaction.objects.get_or_create(
        key=key,
        defaults={
            "id": uuid.uuid5(LEDGER_NAMESPACE, key),
            "kind": kind,
            "order_id": payment.order_id,
            "payment_id": payment.pk,
        },
    )
    if not is_new:
        return
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            transaction=booked,
            debit=_account(move.debit, payment.currency),
            credit=_account(move.credit, payment.currency),
            amount_cents=move.cents,
            currency=payment.currency,
        )
        for move in moves
    )


def book_capture(payment: Payment, cents: int) -> None:
    move = Move(debit=_customer(payment), credit=ESCROW, cents=cents)
    book(LedgerTransactionKind.CAPTURE, f"capture:{payment.pk}", payment, [move])


def book_refund(payment: Payment, refund_id: uuid.UUID, cents: int) -> None:
    move = Move(debit=ESCROW, credit=_customer(payment), cents=cents)
    book(LedgerTransactionKind.REFUND, f"refund:{refund_id}", payment, [move])


def book_payout(payment: Payment, payout_id: uuid.UUID, recipient: Side, cents: int) -> None:
    move = Move(debit=ESCROW, credit=recipient, cents=cents)
    book(LedgerTransactionKind.RELEASE, f"release:{payout_id}", payment, [move])


def book_reversal(payment: Payment, reversal_id: uuid.UUID, recipient: Side, cents: int) -> None:
    move = Move(debit=recipient, credit=ESCROW, cents=cents)
    book(LedgerTransactionKind.REVERSAL, f"reversal:{reversal_id}", payment, [move])


def position(order_id: uuid.UUID | str) -> Position:
    """What came into escrow for this order, what was released from it and what was returned to the customer."""
    entries = LedgerEntry.objects.filter(transaction__order_id=order_id)
    sums = entries.aggregate(
        captured=_sum(LedgerTransactionKind.CAPTURE),
        released=_sum(LedgerTransactionKind.RELEASE),
        reversed=_sum(LedgerTransactionKind.REVERSAL),
        returned=_sum(LedgerTransactionKind.REFUND),
    )
    return Position(captured=sums["captured"], released=sums["released"] - sums["reversed"], returned=sums["returned"])


def balances() -> dict[str, int]:
    """The cents on every account, by its id. They add up to zero."""
    found = dict.fromkeys(LedgerAccount.objects.values_list("pk", flat=True), 0)
    for side, sign in (("debit_id", -1), ("credit_id", 1)):
        for account, cents in LedgerEntry.objects.values_list(side).annotate(Sum("amount_cents")):
            found[account] += sign * cents
    return found


def _sum(kind: LedgerTransactionKind) -> Sum:
    return Sum("amount_cents", filter=Q(transaction__kind=kind), default=0)


def _customer(payment: Payment) -> Side:
    return Side(kind=AccountKind.CUSTOMER, holder=payment.owner)


def _account(side: Side, currency: str) -> LedgerAccount:
    account, _ = LedgerAccount.objects.get_or_create(
        id=f"{side.kind.value}:{side.holder}:{currency}",
        defaults={"kind": side.kind, "holder": side.holder, "currency": currency},
    )
    return account
