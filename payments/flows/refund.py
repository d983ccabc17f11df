"""Refunds: cents are claimed on the payment first, so that concurrent refunds never pass what was captured.

A refund is paid from what escrow still holds; what was already paid out is reversed first, in a fixed order.
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
    """Give back part or all of what was captured. The same key twice is one refund.

    Raises CannotRefund when not that much is left, PayoutInProgress, GatewayUnavailable (unknown: run it again).
    """
    claimed = _claim(payment, amount_cents, refund_id=uuid.uuid5(payment.id, key), reason=reason)
    if claimed.status == RefundStatus.FAILED:
        raise CannotRefund("The payment provider refused this refund.")
    return claimed if claimed.status == RefundStatus.SUCCEEDED else send(claimed, payment)


def refund_rest(payment: Payment, *, reason: str) -> Payment:
    """Refund whatever is neither refunded nor on its way back, and finish what is on its way."""
    for pending in Refund.objects.filter(payment_id=payment.pk, status=RefundStatus.PENDING):
        send(pending, payment)
    payment.refresh_from_db()
    left = payment.captured_cents - payment.refund_claimed_cents
    if left:
        refund(payment, amount_cents=left, key=f"rest:{payment.refund_claimed_cents}", reason=reason)
        payment.refresh_from_db()
    return payment


def send(claimed: Refund, payment: Payment) -> Refund:
    """Finish a claimed refund: take back what was paid out, then give the customer the money."""
    payout.reverse_pending(claimed.pk, payment)
    try:
        given = _request(claimed, payment.intent_id)
    except GatewayStateConflict as conflict:
        _give_up(claimed)
        raise CannotRefund(str(conflict)) from conflict
    _record(claimed, payment, given)
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

    def given_already() -> ProviderRefund | None:
        return next((given for given in gateway.list_refunds(intent_id) if given.refund_id == refund_id), None)

    return with_own_key(
        claimed,
        lambda key: gateway.refund_intent(intent_id, amount_cents=amount, refund_id=refund_id, key=key),
        given_already,
    )


@transaction.atomic
def _record(claimed: Refund, payment: Payment, given: ProviderRefund) -> None:
    pending = Refund.objects.filter(pk=claimed.pk, status=RefundStatus.PENDING)
    if pending.update(status=RefundStatus.SUCCEEDED, provider_id=given.id):
        Payment.objects.record_refunded(payment.pk, claimed.amount_cents)
        ledger.book_refund(payment, claimed.pk, claimed.amount_cents)


@transaction.atomic
def _give_up(claimed: Refund) -> None:
    if Refund.objects.filter(pk=claimed.pk, status=RefundStatus.PENDING).update(status=RefundStatus.FAILED):
        Payment.objects.give_up_refund(claimed.payment_id, claimed.amount_cents)
