"""Comparing our books with the provider's, both ways. What has one right answer is healed, the rest is reported.

The provider is believed about what happened to money; our rows are believed about what was wanted. Nothing younger
than the grace period is looked at: a payment in motion is not a drift.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.utils import timezone

from payments import ledger
from payments.errors import GatewayMisuse, PaymentError
from payments.flows import authorize, capture, order_locks
from payments.flows import refund as refunds
from payments.gateways import current_gateway
from payments.gateways.base import Intent, IntentStatus
from payments.gateways.stripe_gateway import transfer_group
from payments.models import (
    EscrowTransaction,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
    TransactionStatus,
    TransactionType,
)

logger = logging.getLogger(__name__)

GRACE = timedelta(minutes=10)
# An authorization lives for about seven days; longer ago nothing can still be alive.
LOOK_BACK = timedelta(days=8)
LAPSE_WARNING = timedelta(hours=24)
BATCH_SIZE = 500

INCOMPLETE = (
    IntentStatus.REQUIRES_PAYMENT_METHOD,
    IntentStatus.REQUIRES_CONFIRMATION,
    IntentStatus.REQUIRES_ACTION,
)
OVER = (PaymentStatus.VOIDED, PaymentStatus.DECLINED, PaymentStatus.EXPIRED)
PAID = (PaymentStatus.CAPTURED, PaymentStatus.REFUNDED)
HOLDING = (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING)


class Drift(StrEnum):
    ORPHAN_AUTHORIZATION = "orphan_authorization"
    LEFTOVER_INTENT = "leftover_intent"
    LOST_AUTHORIZATION = "lost_authorization"
    UNKNOWN_AT_PROVIDER = "unknown_at_provider"
    CAPTURED_WITHOUT_PAYMENT = "captured_without_payment"
    AMOUNT_MISMATCH = "amount_mismatch"
    LEDGER_MISMATCH = "ledger_mismatch"
    MISSING_TRANSFER = "missing_transfer"
    TRANSFER_MISMATCH = "transfer_mismatch"
    UNFINISHED = "unfinished"
    AUTHORIZATION_OF_DEAD_ORDER = "authorization_of_dead_order"
    ABOUT_TO_LAPSE = "about_to_lapse"


WARNINGS = (Drift.ABOUT_TO_LAPSE, Drift.LEFTOVER_INTENT)


@dataclass(frozen=True, kw_only=True)
class Finding:
    drift: Drift
    payment_id: str
    intent_id: str
    detail: str
    is_healed: bool = False

    @property
    def is_warning(self) -> bool:
        return self.drift in WARNINGS


def reconcile(*, heal: bool = True, grace: timedelta = GRACE) -> list[Finding]:
    """Every drift between us and the provider. With `heal` those with one right answer are put right."""
    until = timezone.now() - grace
    seen: set[str] = set()
    findings = [
        *_provider_side(until, seen, heal=heal),
        *_authorizations(until, seen, heal=heal),
        *_unfinished(until, heal=heal),
        *_payouts(until),
        *_books(until),
    ]
    for finding in findings:
        level = logging.WARNING if finding.is_warning else logging.ERROR
        facts = {"action": f"drift_{finding.drift}", "payment_id": finding.payment_id, "intent_id": finding.intent_id}
        logger.log(level, "Payments drifted: %s", finding.detail, extra=facts)
    return findings


def settle_intent(intent_id: str) -> list[Finding]:
    """Read one intent from the provider and bring our side in line with it; what a webhook asks for."""
    intent = current_gateway().retrieve_intent(intent_id)
    payment = _payment_of(intent)
    if payment is not None and payment.intent_id == intent.id:
        _catch_up(payment, intent)
        payment.refresh_from_db()
    finding = _compare(intent, payment)
    return [_healed(finding, intent, heal=True)] if finding else []


def _catch_up(payment: Payment, intent: Intent) -> None:
    """The provider's answer reached us by another way than the step that waits for it."""
    if payment.status == PaymentStatus.PENDING and intent.status == IntentStatus.REQUIRES_CAPTURE:
        if (intent.amount_cents, intent.currency) == (payment.amount_cents, payment.currency):
            Payment.objects.record_authorized(payment.pk, capture_before=intent.capture_before)
    elif payment.status == PaymentStatus.CAPTURING and intent.status == IntentStatus.SUCCEEDED:
        capture.record_captured(payment, intent)
    elif payment.status in HOLDING and intent.status == IntentStatus.CANCELED:
        Payment.objects.record_expired(payment.pk)


# -- What the provider has, and we may not know -----------------------------------------------------------------------
def _provider_side(until: datetime, seen: set[str], *, heal: bool) -> Iterator[Finding]:
    for intent in current_gateway().list_intents(created_after=timezone.now() - LOOK_BACK):
        seen.add(intent.id)
        if intent.created_at is None or intent.created_at > until or not intent.payment_id:
            continue
        payment = _payment_of(intent)
        if payment is not None and payment.updated_at > until:
            continue
        finding = _compare(intent, payment)
        if finding is not None:
            yield _healed(finding, intent, heal=heal)


def _payment_of(intent: Intent) -> Payment | None:
    try:
        return Payment.objects.filter(pk=intent.payment_id).first() if intent.payment_id else None
    except ValueError:
        return None


def _compare(intent: Intent, payment: Payment | None) -> Finding | None:
    is_ours = payment is not None and payment.intent_id == intent.id
    known = payment if is_ours else None
    if intent.status == IntentStatus.REQUIRES_CAPTURE:
        return _compare_authorization(intent, known)
    if intent.status == IntentStatus.SUCCEEDED:
        return _compare_capture(intent, known)
    if intent.status == IntentStatus.CANCELED and known is not None and known.status in HOLDING:
        return _finding(Drift.LOST_AUTHORIZATION, intent, "The provider canceled a payment we count on.")
    if intent.status in INCOMPLETE and _is_leftover(intent, payment):
        return _finding(Drift.LEFTOVER_INTENT, intent, "An intent that nobody will confirm.")
    return None


def _is_leftover(intent: Intent, payment: Payment | None) -> bool:
    """A payment that has not committed its intent's id yet may be about to."""
    if payment is None or payment.status in OVER:
        return True
    return payment.intent_id not in ("", intent.id)


def _compare_authorization(intent: Intent, payment: Payment | None) -> Finding | None:
    if payment is None or payment.status in (*OVER, *PAID):
        return _finding(Drift.ORPHAN_AUTHORIZATION, intent, "A live authorization without a live payment.")
    if payment.status in HOLDING and intent.amount_cents != payment.amount_cents:
        detail = f"The provider holds {intent.amount_cents} cents, we count on {payment.amount_cents}."
        return _finding(Drift.AMOUNT_MISMATCH, intent, detail)
    return None


def _compare_capture(intent: Intent, payment: Payment | None) -> Finding | None:
    if payment is None or payment.status not in PAID:
        return _finding(Drift.CAPTURED_WITHOUT_PAYMENT, intent, "The provider captured what we did not.")
    provider, ours = (
        (intent.received_cents, intent.refunded_cents),
        (payment.captured_cents, payment.refunded_cents),
    )
    if provider != ours and not _has_pending_refund(payment):
        return _finding(Drift.AMOUNT_MISMATCH, intent, f"(captured, refunded): provider {provider}, ours {ours}.")
    return None


def _has_pending_refund(payment: Payment) -> bool:
    return Refund.objects.filter(payment_id=payment.pk, status=RefundStatus.PENDING).exists()


def _finding(drift: Drift, intent: Intent, detail: str) -> Finding:
    return Finding(drift=drift, payment_id=intent.payment_id, intent_id=intent.id, detail=detail)


def _healed(finding: Finding, intent: Intent, *, heal: bool) -> Finding:
    """A hold nobody wants is let go, a lost one is written off. What was captured is left to a person."""
    if not heal:
        return finding
    if finding.drift in (Drift.ORPHAN_AUTHORIZATION, Drift.LEFTOVER_INTENT):
        return _try(finding, lambda: _cancel(intent))
    if finding.drift == Drift.LOST_AUTHORIZATION:
        return _try(finding, lambda: Payment.objects.record_expired(finding.payment_id))
    return finding


def _cancel(intent: Intent) -> bool:
    current_gateway().cancel_intent(intent.id, key=f"reconcile:{intent.id}:{timezone.now():%Y%m%d%H%M}")
    return current_gateway().retrieve_intent(intent.id).status == IntentStatus.CANCELED


def _try(finding: Finding, action: Callable[[], object]) -> Finding:
    try:
        is_healed = bool(action())
    except PaymentError as error:
        logger.warning("Could not heal a drift: %s", error, extra={"action": "drift_not_healed"})
        return finding
    return Finding(**{**finding.__dict__, "is_healed": is_healed})


# -- What we have, and the provider may not know ----------------------------------------------------------------------
def _unfinished(until: datetime, *, heal: bool) -> Iterator[Finding]:
    unfinished = Payment.objects.filter(
        status__in=(PaymentStatus.VOIDING, PaymentStatus.CAPTURING), updated_at__lte=until
    )
    for payment in unfinished[:BATCH_SIZE]:
        finding = _about(Drift.UNFINISHED, payment, f"The payment has been {payment.status} for too long.")
        yield _try(finding, _finish(payment)) if heal else finding
    stale = Refund.objects.filter(status=RefundStatus.PENDING, updated_at__lte=until)
    for refund in stale[:BATCH_SIZE]:
        payment = Payment.objects.get(pk=refund.payment_id)
        finding = _about(Drift.UNFINISHED, payment, f"Refund {refund.pk} has been pending for too long.")
        yield _try(finding, _sending(refund, payment)) if heal else finding


def _finish(payment: Payment) -> Callable[[], object]:
    if payment.status == PaymentStatus.CAPTURING:
        return lambda: capture.capture(payment, payment.capturing_cents)
    return _voiding(payment)


def _voiding(payment: Payment) -> Callable[[], object]:
    return lambda: authorize.void(
        str(payment.pk), str(payment.order_id), reason=payment.reason, idempotency_key=payment.idempotency_key
    )


def _sending(refund: Refund, payment: Payment) -> Callable[[], object]:
    return lambda: refunds.send(refund, payment)


def _authorizations(until: datetime, seen: set[str], *, heal: bool) -> Iterator[Finding]:
    held = list(Payment.objects.filter(status=PaymentStatus.AUTHORIZED, updated_at__lte=until).order_by("pk"))
    dead = order_locks.dead_orders([payment.order_id for payment in held])
    for payment in held:
        if payment.order_id in dead:
            finding = _about(Drift.AUTHORIZATION_OF_DEAD_ORDER, payment, "The order is over, its hold is not.")
            yield _try(finding, _voiding(payment)) if heal else finding
        elif payment.intent_id not in seen and not _is_known(payment):
            yield _about(Drift.UNKNOWN_AT_PROVIDER, payment, "The provider does not know this authorization.")
        elif payment.capture_before and payment.capture_before <= timezone.now() + LAPSE_WARNING:
            yield _about(Drift.ABOUT_TO_LAPSE, payment, f"The authorization lapses at {payment.capture_before}.")


def _is_known(payment: Payment) -> bool:
    """Recent ones were in the provider's list, so only what was not seen there is asked for by its id."""
    try:
        current_gateway().retrieve_intent(payment.intent_id)
    except GatewayMisuse:
        return False
    return True


def _about(drift: Drift, payment: Payment, detail: str) -> Finding:
    return Finding(drift=drift, payment_id=str(payment.pk), intent_id=payment.intent_id, detail=detail)


def _payouts(until: datetime) -> Iterator[Finding]:
    """Each completed payout is a transfer at the provider, to the cent, reversals included."""
    completed = EscrowTransaction.objects.filter(
        type=TransactionType.RELEASE,
        status=TransactionStatus.COMPLETED,
        updated_at__range=(until - LOOK_BACK, until),
    ).exclude(transfer_id="")
    for payout in completed.order_by("order_id"):
        sent = current_gateway().list_transfers(group=transfer_group(str(payout.order_id)))
        found = next((transfer for transfer in sent if transfer.id == payout.transfer_id), None)
        payment = Payment.objects.get(pk=payout.payment_id)
        if found is None:
            yield _about(Drift.MISSING_TRANSFER, payment, f"Transfer {payout.transfer_id} is not there.")
        elif (found.amount_cents, found.reversed_cents) != (payout.amount_cents, _taken_back(payout)):
            yield _about(Drift.TRANSFER_MISMATCH, payment, f"Transfer {found.id} has another amount.")


def _taken_back(payout: EscrowTransaction) -> int:
    reversals = EscrowTransaction.objects.filter(
        order_id=payout.order_id,
        type=TransactionType.REVERSAL,
        status=TransactionStatus.COMPLETED,
        recipient_type=payout.recipient_type,
    )
    return sum(reversals.values_list("amount_cents", flat=True))


def _books(until: datetime) -> Iterator[Finding]:
    """What the payment rows say is what the ledger says."""
    paid = Payment.objects.filter(status__in=PAID, updated_at__range=(until - LOOK_BACK, until))
    for payment in paid.order_by("pk"):
        told = ledger.position(payment.order_id)
        if (told.captured, told.returned) != (payment.captured_cents, payment.refunded_cents) or told.held < 0:
            yield _about(Drift.LEDGER_MISMATCH, payment, f"The ledger says {told}.")
