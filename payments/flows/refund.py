"""Refunds. The cents are claimed on the payment first, so that all refunds together are never more than was captured.

A refund is paid from what escrow still holds. What was already paid out is taken back first, in a fixed order.
"""

from __future__ import annotations

import uuid

from django.db import transaction

from payments import ledger
from payments.errors import CannotRefund, GatewayStateConflict
from payments.flows import payout
from payments.flows.keys import with_own_key
from payments.gateways import current_gateway
from payments.gateways.base import ProviderRefund
from payments.models import Payment, PaymentStatus, Refund, RefundStatus


def refund(payment: Payment, *, amount_cents: int, key: str, reason: str) -> Refund:
    """Refund part or all of what was captured. The same key twice is one refund. Returns it, SUCCEEDED.

    Raises CannotRefund if less is left, PayoutInProgress, GatewayUnavailable (the outcome is unknown: run it again).
    """
    claimed = _claim(payment, amount_cents, refund_id=uuid.uuid5(payment.id, key), reason=reason)
    if claimed.status == RefundStatus.FAILED:
        raise CannotRefund("The payment provider refused this refund.")
    return claimed if claimed.status == RefundStatus.SUCCEEDED else send_refund(claimed, payment)


def refund_rest(payment: Payment, *, reason: str) -> Payment:
    """Finish pending refunds, and refund what is left. Raises as `refund` does."""
    for pending in Refund.objects.filter(payment_id=payment.pk, status=RefundStatus.PENDING):
        send_refund(pending, payment)
    payment.refresh_from_db()
    left = payment.captured_cents - payment.refund_claimed_cents
    if left:
        refund(payment, amount_cents=left, key=f"rest:{payment.refund_claimed_cents}", reason=reason)
        payment.refresh_from_db()
    return payment


def send_refund(claimed: Refund, payment: Payment) -> Refund:
    """Finish a claimed refund: take back what was paid out, then send the money to the customer. Raises as `refund`."""
    payout.reverse_pending(claimed.pk, payment)
    try:
        sent = _request(claimed, payment.intent_id)
    except GatewayStateConflict as conflict:
        _fail_refund(claimed)
        raise CannotRefund(str(conflict)) from conflict
    _record(claimed, payment, sent)
    claimed.refresh_from_db()
    return claimed


@transaction.atomic
def _claim(payment: Payment, amount_cents: int, *, refund_id: uuid.UUID, reason: str) -> Refund:
    locked = Payment.objects.select_for_update().get(pk=payment.pk)
    existing = Refund.objects.filter(pk=refund_id).first()
    if existing:
        if existing.amount_cents != amount_cents:
            raise CannotRefund("This refund was requested with another amount before.")
        return existing
    if amount_cents < 1 or not Payment.objects.claim_refund(locked.pk, amount_cents):
        raise CannotRefund(_left(locked))
    locked.refresh_from_db()
    payout.claim_reversals(locked, refund_id)
    return Refund.objects.create(id=refund_id, payment_id=locked.pk, amount_cents=amount_cents, reason=reason)


def _left(payment: Payment) -> str:
    if payment.status not in (PaymentStatus.CAPTURED, PaymentStatus.REFUNDED):
        return f"The payment is {payment.status}: nothing was captured."
    left = payment.captured_cents - payment.refund_claimed_cents
    return f"Only {left} of {payment.captured_cents} cents are left to refund."


def _request(claimed: Refund, intent_id: str) -> ProviderRefund:
    gateway = current_gateway()
    amount, refund_id = claimed.amount_cents, str(claimed.pk)

    def find_sent() -> ProviderRefund | None:
        return next((sent for sent in gateway.list_refunds(intent_id) if sent.refund_id == refund_id), None)

    return with_own_key(
        claimed,
        lambda key: gateway.refund_intent(intent_id, amount_cents=amount, refund_id=refund_id, key=key),
        find_sent,
    )


@transaction.atomic
def _record(claimed: Refund, payment: Payment, sent: ProviderRefund) -> None:
    pending = Refund.objects.filter(pk=claimed.pk, status=RefundStatus.PENDING)
    if pending.update(status=RefundStatus.SUCCEEDED, provider_id=sent.id):
        Payment.objects.record_refunded(payment.pk, claimed.amount_cents)
        ledger.book_refund(payment, claimed.pk, claimed.amount_cents)


@transaction.atomic
def _fail_refund(claimed: Refund) -> None:
    if Refund.objects.filter(pk=claimed.pk, status=RefundStatus.PENDING).update(status=RefundStatus.FAILED):
        Payment.objects.cancel_refund_claim(claimed.payment_id, claimed.amount_cents)
