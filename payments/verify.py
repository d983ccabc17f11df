"""What must hold for every payment, its refunds, its escrow and the ledger, according to our own rows.

`manage.py reconcile` compares them with what the provider has.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum

from payments.models import (
    AccountKind,
    EscrowTransaction,
    LedgerEntry,
    LedgerTransaction,
    LedgerTransactionKind,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
    TransactionStatus,
    TransactionType,
)
from sagas import Breach, Invariant, differences, register_invariants

AUTHORIZED = (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING)
PAID = (PaymentStatus.CAPTURED, PaymentStatus.REFUNDED)


# -- I3: one authorization ------------------------------------------------------------------------------------------
def authorized_twice() -> Iterator[Breach]:
    ever = Payment.objects.filter(authorized_cents__gt=0).order_by().values_list("order_id")
    for order_id, times in ever.annotate(times=Count("pk")).filter(times__gt=1):
        ids = (
            Payment.objects.filter(order_id=order_id, authorized_cents__gt=0)
            .order_by("pk")
            .values_list("pk", flat=True)
        )
        yield Breach(f"order {order_id}", f"{times} payments were authorized: {', '.join(map(str, ids))}")


# -- I4: cents ------------------------------------------------------------------------------------------------------
def wrong_cents() -> Iterator[Breach]:
    """0 ≤ refunded ≤ claimed ≤ captured ≤ authorized ≤ amount, and the status says the same as the figures."""
    refunded, claimed, captured = F("refunded_cents"), F("refund_claimed_cents"), F("captured_cents")
    wrong = (
        Q(refunded_cents__lt=0)
        | Q(refund_claimed_cents__lt=refunded)
        | Q(captured_cents__lt=claimed)
        | Q(authorized_cents__lt=captured)
        | ~Q(authorized_cents=0) & ~Q(authorized_cents=F("amount_cents"))
        | Q(status__in=AUTHORIZED) & ~Q(authorized_cents__gt=0, captured_cents=0)
        | Q(status__in=PAID, captured_cents__lte=0)
        | ~Q(status__in=PAID) & ~Q(captured_cents=0)
        | Q(status=PaymentStatus.CAPTURED, refunded_cents=captured)
        | Q(status=PaymentStatus.REFUNDED) & ~Q(refunded_cents=captured)
    )
    for payment in Payment.objects.filter(wrong).order_by("pk").iterator():
        yield Breach(f"payment {payment.pk}", _figures(payment))


def _figures(payment: Payment) -> str:
    names = ("amount", "authorized", "captured", "refund_claimed", "refunded")
    figures = ", ".join(f"{name} {getattr(payment, f'{name}_cents')}" for name in names)
    return f"{payment.status}: {figures} cents"


def refunds_that_differ() -> Iterator[Breach]:
    """The claimed and refunded cents of a payment are the sums of its refunds."""
    of_payment = Refund.objects.values_list("payment_id")
    sent = of_payment.filter(status=RefundStatus.SUCCEEDED).annotate(cents=Sum("amount_cents"))
    claimed = of_payment.exclude(status=RefundStatus.FAILED).annotate(cents=Sum("amount_cents"))
    for name, refunds, column in (("refunded", sent, "refunded_cents"), ("claimed", claimed, "refund_claimed_cents")):
        on_payments = Payment.objects.exclude(**{column: 0}).values_list("pk", column)
        for (payment_id,), total, cents in differences(refunds, on_payments):
            yield Breach(f"payment {payment_id}", f"{cents or 0} cents {name}, its refunds say {total or 0}")


# -- I5: the ledger -------------------------------------------------------------------------------------------------
_SIDES = {
    LedgerTransactionKind.CAPTURE: Q(debit__kind=AccountKind.CUSTOMER, credit__kind=AccountKind.ESCROW),
    LedgerTransactionKind.REFUND: Q(debit__kind=AccountKind.ESCROW, credit__kind=AccountKind.CUSTOMER),
    LedgerTransactionKind.RELEASE: Q(debit__kind=AccountKind.ESCROW) & ~Q(credit__kind__in=("customer", "escrow")),
    LedgerTransactionKind.REVERSAL: ~Q(debit__kind__in=("customer", "escrow")) & Q(credit__kind=AccountKind.ESCROW),
}


def unbalanced() -> Iterator[Breach]:
    """Transactions without an entry, and entries that do not move whole cents between the right accounts."""
    entries = LedgerEntry.objects.filter(transaction_id=OuterRef("pk"))
    for booked in LedgerTransaction.objects.filter(~Exists(entries)).order_by("pk").iterator():
        yield Breach(f"ledger transaction {booked.pk}", f"{booked.key} has no entry")
    right = (
        Q(amount_cents__gt=0) & ~Q(debit=F("credit")) & Q(debit__currency=F("currency"), credit__currency=F("currency"))
    )
    sides = Q()
    for kind, accounts in _SIDES.items():
        sides |= Q(transaction__kind=kind) & accounts
    for entry in LedgerEntry.objects.exclude(right & sides).select_related("transaction").order_by("pk").iterator():
        booked = entry.transaction
        yield Breach(f"ledger transaction {booked.pk}", f"{booked.key} moves {entry.amount_cents} cents {entry}")


def books_that_differ() -> Iterator[Breach]:
    """The ledger against payments, for each payment, and against payouts and reversals, for each order."""
    of_payment = [
        (LedgerTransactionKind.CAPTURE, "captured", "captured_cents"),
        (LedgerTransactionKind.REFUND, "refunded", "refunded_cents"),
    ]
    for kind, name, column in of_payment:
        on_payments = Payment.objects.exclude(**{column: 0}).values_list("pk", column)
        for (payment_id,), booked, cents in differences(_booked(kind, "payment_id"), on_payments):
            yield Breach(f"payment {payment_id}", f"{cents or 0} cents {name}, the ledger says {booked or 0}")
    of_order = [
        (LedgerTransactionKind.RELEASE, TransactionType.RELEASE),
        (LedgerTransactionKind.REVERSAL, TransactionType.REVERSAL),
    ]
    for kind, type_ in of_order:
        done = EscrowTransaction.objects.filter(type=type_, status=TransactionStatus.COMPLETED)
        paid = done.values_list("order_id").annotate(cents=Sum("amount_cents"))
        for (order_id,), booked, cents in differences(_booked(kind, "order_id"), paid):
            yield Breach(f"order {order_id}", f"{type_.lower()}s of {cents or 0} cents, the ledger says {booked or 0}")


def _booked(kind: LedgerTransactionKind, subject: str) -> QuerySet[LedgerEntry]:
    entries = LedgerEntry.objects.filter(transaction__kind=kind)
    return entries.values_list(f"transaction__{subject}").annotate(cents=Sum("amount_cents"))


def overdrawn() -> Iterator[Breach]:
    """Held = captured − released + reversed − returned, which is never negative."""
    into = Sum("amount_cents", filter=Q(transaction__kind__in=("CAPTURE", "REVERSAL")), default=0)
    out_of = Sum("amount_cents", filter=Q(transaction__kind__in=("RELEASE", "REFUND")), default=0)
    positions = LedgerEntry.objects.order_by().values_list("transaction__order_id").annotate(came=into, went=out_of)
    for order_id, came, went in positions.filter(went__gt=F("came")):
        yield Breach(f"order {order_id}", f"{came} cents came into escrow, {went} cents left it")


# -- I8: nothing twice ----------------------------------------------------------------------------------------------
def booked_twice() -> Iterator[Breach]:
    captures = LedgerEntry.objects.filter(transaction__kind=LedgerTransactionKind.CAPTURE).order_by()
    for payment_id, times in (
        captures.values_list("transaction__payment_id").annotate(times=Count("pk")).filter(times__gt=1)
    ):
        yield Breach(f"payment {payment_id}", f"its capture is booked {times} times")
    holds = EscrowTransaction.objects.filter(type=TransactionType.HOLD).order_by().values_list("order_id")
    for order_id, times in holds.annotate(times=Count("pk")).filter(times__gt=1):
        yield Breach(f"order {order_id}", f"{times} escrows are held for it")


_RECONCILE = "`manage.py reconcile --no-heal` shows what the provider has"
INVARIANTS = (
    Invariant(
        "I3", "no order was authorized twice", "payments",
        Payment.objects.all(), authorized_twice,
        f"{_RECONCILE}; void the authorization that no order names.",
    ),
    Invariant(
        "I4", "every payment's figures add up and agree with its status", "payments",
        Payment.objects.all(), wrong_cents,
        f"{_RECONCILE}: the provider's figures are right. Correct the row together with a second person.",
    ),
    Invariant(
        "I4", "claimed and refunded cents are those of the refunds", "refunds",
        Refund.objects.all(), refunds_that_differ,
        f"{_RECONCILE}: a refund that the provider has was paid; one that it does not have was never sent.",
    ),
    Invariant(
        "I5", "every ledger entry moves cents between the right accounts", "ledger entries",
        LedgerEntry.objects.all(), unbalanced,
        "Somebody got around the ledger's triggers. Compare with a backup; book a correction, change nothing.",
    ),
    Invariant(
        "I5", "the ledger says what payments and payouts say", "ledger entries",
        LedgerEntry.objects.all(), books_that_differ,
        f"{_RECONCILE}: the side that agrees with it is right. Book a correction, change nothing.",
    ),
    Invariant(
        "I5", "no order takes more out of escrow than came in", "ledger entries",
        LedgerEntry.objects.all(), overdrawn,
        f"Somebody was paid twice, or a capture is missing: {_RECONCILE}.",
    ),
    Invariant(
        "I8", "no capture is booked twice, no order is held twice", "ledger transactions",
        LedgerTransaction.objects.all(), booked_twice,
        f"{_RECONCILE}. Book a correction, change nothing.",
    ),
)  # fmt: skip
register_invariants(*INVARIANTS)
