"""Paying restaurant, runner and platform out of escrow, and taking it back for a refund.

The row of each payout and reversal is committed before its transfer is requested, so that after a crash the next run
finishes it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Sum

from payments import ledger
from payments.errors import CannotReleaseEscrow, PayoutInProgress, UnknownEscrow
from payments.flows.keys import with_own_key
from payments.gateways import current_gateway
from payments.gateways.base import ProviderReversal, ProviderTransfer
from payments.gateways.stripe_gateway import transfer_group
from payments.models import (
    AccountKind,
    EscrowTransaction,
    Payment,
    PaymentStatus,
    RecipientType,
    TransactionStatus,
    TransactionType,
)

BASIS_POINTS = 10_000
# Who pays back first for a refund after the payout: most refunds are about the food.
REVERSAL_ORDER = (RecipientType.RESTAURANT, RecipientType.PLATFORM, RecipientType.RUNNER)


@dataclass(frozen=True, kw_only=True)
class Recipients:
    """Accounts at the provider (`acct_…`). The platform's fee stays on its own account: nothing is transferred.

    The fee is in basis points of the food: 100 is one percent.
    """

    restaurant: str
    runner: str
    platform_fee_basis_points: int = 0


@dataclass(frozen=True, kw_only=True)
class Share:
    recipient_type: RecipientType
    recipient: str
    cents: int


def release_escrow(order_id: str, recipients: Recipients) -> EscrowTransaction:
    """Pay out what escrow holds for the order. Calling it again finishes what was started and pays nobody twice.

    Returns the hold, RELEASED. Raises UnknownEscrow, CannotReleaseEscrow, GatewayUnavailable (unknown: run it again).
    """
    hold, payment = _claim_release(order_id, recipients)
    for payout in _rows(payment, TransactionType.RELEASE, status=TransactionStatus.PENDING):
        _pay(payout, payment)
    EscrowTransaction.objects.record_released(hold.pk)
    hold.refresh_from_db()
    return hold


def shares(payment: Payment, hold: EscrowTransaction, recipients: Recipients) -> list[Share]:
    """Split what is left of the captured money: the delivery fee first, then the food, of which the platform gets its
    fee, rounded down to the cent. The shares add up to what is left; nobody gets a share of 0."""
    available = payment.captured_cents - payment.refund_claimed_cents
    delivery = min(hold.delivery_fee_cents, available)
    food = available - delivery
    fee = food * recipients.platform_fee_basis_points // BASIS_POINTS
    split = [
        Share(recipient_type=RecipientType.RESTAURANT, recipient=recipients.restaurant, cents=food - fee),
        Share(recipient_type=RecipientType.RUNNER, recipient=recipients.runner, cents=delivery),
        Share(recipient_type=RecipientType.PLATFORM, recipient="", cents=fee),
    ]
    return [share for share in split if share.cents]


@transaction.atomic
def _claim_release(order_id: str, recipients: Recipients) -> tuple[EscrowTransaction, Payment]:
    hold = EscrowTransaction.objects.filter(order_id=order_id, type=TransactionType.HOLD).first()
    if hold is None:
        raise UnknownEscrow(f"Nothing is held for order {order_id}.")
    payment = Payment.objects.select_for_update().get(pk=hold.payment_id)
    if EscrowTransaction.objects.claim_release(hold.pk):
        _write_payouts(payment, hold, recipients)
    hold.refresh_from_db()
    if hold.status not in (TransactionStatus.RELEASING, TransactionStatus.RELEASED):
        raise CannotReleaseEscrow(f"The escrow is {hold.status}.")
    return hold, payment


def _write_payouts(payment: Payment, hold: EscrowTransaction, recipients: Recipients) -> None:
    split = shares(payment, hold, recipients)
    if payment.status != PaymentStatus.CAPTURED or not split:
        raise CannotReleaseEscrow(f"The payment is {payment.status}: there is no captured money to pay out.")
    EscrowTransaction.objects.bulk_create(
        _row(payment, TransactionType.RELEASE, share, row_id=uuid.uuid5(hold.pk, f"release.{share.recipient_type}"))
        for share in split
    )


def claim_reversals(payment: Payment, refund_id: uuid.UUID) -> None:
    """Write down what recipients must pay back for a refund. The caller has locked the payment and claimed the refund.

    Raises PayoutInProgress while it is not known whether a payout has arrived.
    """
    missing = -_unreleased(payment)
    if missing <= 0:
        return
    payouts = {row.recipient_type: row for row in _rows(payment, TransactionType.RELEASE)}
    if any(row.status == TransactionStatus.PENDING for row in payouts.values()):
        raise PayoutInProgress(f"Order {payment.order_id} is being paid out.")
    for recipient_type in REVERSAL_ORDER:
        payout = payouts.get(recipient_type.value)
        cents = min(missing, payout.amount_cents - _reversed(payout)) if payout else 0
        if payout and cents:
            share = Share(recipient_type=recipient_type, recipient=payout.recipient, cents=cents)
            row_id = uuid.uuid5(refund_id, f"reversal.{recipient_type}")
            _row(payment, TransactionType.REVERSAL, share, row_id=row_id, refund_id=refund_id).save(force_insert=True)
            missing -= cents


def reverse_pending(refund_id: uuid.UUID, payment: Payment) -> None:
    """Take back what `claim_reversals` wrote down for this refund. Raises GatewayUnavailable (run it again)."""
    pending = _rows(payment, TransactionType.REVERSAL, status=TransactionStatus.PENDING, refund_id=refund_id)
    for reversal in pending:
        _finish_reversal(reversal, payment)


def _unreleased(payment: Payment) -> int:
    """Captured cents that are neither paid out nor claimed by a refund. Negative if a refund needs reversals."""
    paid = _total(payment, TransactionType.RELEASE) - _total(payment, TransactionType.REVERSAL)
    return payment.captured_cents - payment.refund_claimed_cents - paid


def _total(payment: Payment, kind: TransactionType) -> int:
    total: int = EscrowTransaction.objects.filter(order_id=payment.order_id, type=kind).aggregate(
        total=Sum("amount_cents", default=0)
    )["total"]
    return total


def _reversed(payout: EscrowTransaction) -> int:
    reversals = EscrowTransaction.objects.filter(
        order_id=payout.order_id, type=TransactionType.REVERSAL, recipient_type=payout.recipient_type
    )
    total: int = reversals.aggregate(total=Sum("amount_cents", default=0))["total"]
    return total


def _rows(payment: Payment, kind: TransactionType, **more: object) -> list[EscrowTransaction]:
    return list(EscrowTransaction.objects.filter(order_id=payment.order_id, type=kind, **more).order_by("id"))


def _row(
    payment: Payment, kind: TransactionType, share: Share, *, row_id: uuid.UUID, refund_id: uuid.UUID | None = None
) -> EscrowTransaction:
    return EscrowTransaction(
        id=row_id,
        order_id=payment.order_id,
        payment_id=payment.pk,
        owner=payment.owner,
        type=kind,
        status=TransactionStatus.PENDING,
        recipient_type=share.recipient_type,
        recipient=share.recipient,
        currency=payment.currency,
        amount_cents=share.cents,
        refund_id=refund_id,
    )


def _pay(payout: EscrowTransaction, payment: Payment) -> None:
    transfer_id = "" if payout.recipient_type == RecipientType.PLATFORM else _transfer(payout, payment).id
    with transaction.atomic():
        if EscrowTransaction.objects.record_completed(payout.pk, transfer_id=transfer_id):
            ledger.book_payout(payment, payout.pk, _side(payout), payout.amount_cents)


def _transfer(payout: EscrowTransaction, payment: Payment) -> ProviderTransfer:
    gateway, group = current_gateway(), transfer_group(str(payment.order_id))
    payout_id = str(payout.pk)

    def find_sent() -> ProviderTransfer | None:
        return next((sent for sent in gateway.list_transfers(group=group) if sent.payout_id == payout_id), None)

    def send(key: str) -> ProviderTransfer:
        return gateway.transfer(
            amount_cents=payout.amount_cents,
            currency=payout.currency,
            destination=payout.recipient,
            group=group,
            charge_id=payment.charge_id,
            payout_id=payout_id,
            key=key,
        )

    return with_own_key(payout, send, find_sent)


def _finish_reversal(reversal: EscrowTransaction, payment: Payment) -> None:
    payout = EscrowTransaction.objects.get(
        order_id=reversal.order_id, type=TransactionType.RELEASE, recipient_type=reversal.recipient_type
    )
    reversal_id = _reverse(reversal, payout).id if payout.transfer_id else ""
    with transaction.atomic():
        if EscrowTransaction.objects.record_completed(reversal.pk, transfer_id=reversal_id):
            ledger.book_reversal(payment, reversal.pk, _side(reversal), reversal.amount_cents)


def _reverse(reversal: EscrowTransaction, payout: EscrowTransaction) -> ProviderReversal:
    gateway, reversal_id = current_gateway(), str(reversal.pk)

    def find_reversed() -> ProviderReversal | None:
        done = gateway.list_reversals(payout.transfer_id)
        return next((one for one in done if one.reversal_id == reversal_id), None)

    return with_own_key(
        reversal,
        lambda key: gateway.reverse_transfer(
            payout.transfer_id, amount_cents=reversal.amount_cents, reversal_id=reversal_id, key=key
        ),
        find_reversed,
    )


def _side(row: EscrowTransaction) -> ledger.Side:
    return ledger.Side(kind=AccountKind(row.recipient_type), holder=row.recipient)
