"""Comparing our books with the provider's, both ways. A drift with one right answer is corrected, the rest is reported.

The provider is right about what happened to money; our rows are right about what was wanted. What changed within the
grace period is left out, because a payment that is still running is not a drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.utils import timezone

from payments import ledger
from payments.errors import GatewayMisuse
from payments.findings import Drift, Finding, about_intent, about_payment, healed_by, log
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

GRACE = timedelta(minutes=10)
# An authorization lives for about seven days; an older one cannot be alive.
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


def reconcile(*, heal: bool = True, grace: timedelta = GRACE) -> list[Finding]:
    """Every drift between us and the provider, logged. With `heal`, those with one right answer are corrected.

    Raises GatewayUnavailable if the provider does not answer.
    """
    until = timezone.now() - grace
    seen: set[str] = set()
    findings = [
        *_intents_at_provider(until, seen, heal=heal),
        *_authorizations(until, seen, heal=heal),
        *_unfinished(until, heal=heal),
        *_payouts(until),
        *_ledger(until),
    ]
    for finding in findings:
        log(finding)
    return findings


def reconcile_intent(intent_id: str) -> list[Finding]:
    """Read one intent from the provider and bring our rows in line with it, as a webhook asks for.

    Raises GatewayUnavailable if the provider does not answer.
    """
    intent = current_gateway().retrieve_intent(intent_id)
    payment = _payment_of(intent)
    if payment is not None and payment.intent_id == intent.id:
        _catch_up(payment, intent)
        payment.refresh_from_db()
    finding = _compare(intent, payment)
    return [_healed(finding, intent, heal=True)] if finding else []


def _catch_up(payment: Payment, intent: Intent) -> None:
    """Record the provider's answer before the step that waits for it does."""
    if payment.status == PaymentStatus.PENDING and intent.status == IntentStatus.REQUIRES_CAPTURE:
        if (intent.amount_cents, intent.currency) == (payment.amount_cents, payment.currency):
            Payment.objects.record_authorized(payment.pk, capture_before=intent.capture_before)
    elif payment.status == PaymentStatus.CAPTURING and intent.status == IntentStatus.SUCCEEDED:
        capture.record_captured(payment, intent)
    elif payment.status in HOLDING and intent.status == IntentStatus.CANCELED:
        Payment.objects.record_expired(payment.pk)


# -- What the provider has, and we may not know -----------------------------------------------------------------------
def _intents_at_provider(until: datetime, seen: set[str], *, heal: bool) -> Iterator[Finding]:
    """Adds the id of every intent that the provider lists to `seen`."""
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
        return about_intent(Drift.LOST_AUTHORIZATION, intent, "The provider canceled a payment that we count on.")
    if intent.status in INCOMPLETE and _is_leftover(intent, payment):
        return about_intent(Drift.LEFTOVER_INTENT, intent, "An intent that nobody will confirm.")
    return None


def _is_leftover(intent: Intent, payment: Payment | None) -> bool:
    """A payment without an intent's id may be about to commit this one."""
    if payment is None or payment.status in OVER:
        return True
    return payment.intent_id not in ("", intent.id)


def _compare_authorization(intent: Intent, payment: Payment | None) -> Finding | None:
    if payment is None or payment.status in (*OVER, *PAID):
        return about_intent(Drift.ORPHAN_AUTHORIZATION, intent, "A live authorization without a live payment.")
    if payment.status in HOLDING and intent.amount_cents != payment.amount_cents:
        detail = f"The provider holds {intent.amount_cents} cents, we count on {payment.amount_cents}."
        return about_intent(Drift.AMOUNT_MISMATCH, intent, detail)
    return None


def _compare_capture(intent: Intent, payment: Payment | None) -> Finding | None:
    if payment is None or payment.status not in PAID:
        return about_intent(Drift.CAPTURED_WITHOUT_PAYMENT, intent, "The provider captured what we did not.")
    provider, ours = (
        (intent.received_cents, intent.refunded_cents),
        (payment.captured_cents, payment.refunded_cents),
    )
    if provider != ours and not _has_pending_refund(payment):
        return about_intent(Drift.AMOUNT_MISMATCH, intent, f"(captured, refunded): provider {provider}, ours {ours}.")
    return None


def _has_pending_refund(payment: Payment) -> bool:
    return Refund.objects.filter(payment_id=payment.pk, status=RefundStatus.PENDING).exists()


def _healed(finding: Finding, intent: Intent, *, heal: bool) -> Finding:
    """Cancel an authorization nobody wants, record a lost one as expired. Captured money is left to a person."""
    if not heal:
        return finding
    if finding.drift in (Drift.ORPHAN_AUTHORIZATION, Drift.LEFTOVER_INTENT):
        return healed_by(finding, lambda: _cancel(intent))
    if finding.drift == Drift.LOST_AUTHORIZATION:
        return healed_by(finding, lambda: Payment.objects.record_expired(finding.payment_id))
    return finding


def _cancel(intent: Intent) -> bool:
    current_gateway().cancel_intent(intent.id, key=f"reconcile:{intent.id}:{timezone.now():%Y%m%d%H%M}")
    return current_gateway().retrieve_intent(intent.id).status == IntentStatus.CANCELED


# -- What we have, and the provider may not know ----------------------------------------------------------------------
def _unfinished(until: datetime, *, heal: bool) -> Iterator[Finding]:
    unfinished = Payment.objects.filter(
        status__in=(PaymentStatus.VOIDING, PaymentStatus.CAPTURING), updated_at__lte=until
    )
    for payment in unfinished[:BATCH_SIZE]:
        finding = about_payment(Drift.UNFINISHED, payment, f"The payment has been {payment.status} for too long.")
        yield healed_by(finding, _finish(payment)) if heal else finding
    stale = Refund.objects.filter(status=RefundStatus.PENDING, updated_at__lte=until)
    for refund in stale[:BATCH_SIZE]:
        payment = Payment.objects.get(pk=refund.payment_id)
        finding = about_payment(Drift.UNFINISHED, payment, f"Refund {refund.pk} has been pending for too long.")
        yield healed_by(finding, _send(refund, payment)) if heal else finding


def _finish(payment: Payment) -> Callable[[], object]:
    if payment.status == PaymentStatus.CAPTURING:
        return lambda: capture.capture(payment, payment.capturing_cents)
    return _void(payment)


def _void(payment: Payment) -> Callable[[], object]:
    return lambda: authorize.void_authorization(
        str(payment.pk), str(payment.order_id), reason=payment.reason, idempotency_key=payment.idempotency_key
    )


def _send(refund: Refund, payment: Payment) -> Callable[[], object]:
    return lambda: refunds.send_refund(refund, payment)


def _authorizations(until: datetime, seen: set[str], *, heal: bool) -> Iterator[Finding]:
    held = list(Payment.objects.filter(status=PaymentStatus.AUTHORIZED, updated_at__lte=until).order_by("pk"))
    ended = order_locks.ended_orders([payment.order_id for payment in held])
    for payment in held:
        if payment.order_id in ended:
            detail = "The order is over, its authorization is not."
            finding = about_payment(Drift.AUTHORIZATION_OF_DEAD_ORDER, payment, detail)
            yield healed_by(finding, _void(payment)) if heal else finding
        elif payment.intent_id not in seen and not _is_known(payment):
            yield about_payment(Drift.UNKNOWN_AT_PROVIDER, payment, "The provider does not know this authorization.")
        elif payment.capture_before and payment.capture_before <= timezone.now() + LAPSE_WARNING:
            yield about_payment(Drift.ABOUT_TO_LAPSE, payment, f"The authorization lapses at {payment.capture_before}.")


def _is_known(payment: Payment) -> bool:
    """Recent intents are in the provider's list, so only an intent that was not in it is asked for by its id."""
    try:
        current_gateway().retrieve_intent(payment.intent_id)
    except GatewayMisuse:
        return False
    return True


def _payouts(until: datetime) -> Iterator[Finding]:
    """Each completed payout is a transfer at the provider with the same cents, also of reversals."""
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
            detail = f"The provider does not have transfer {payout.transfer_id}."
            yield about_payment(Drift.MISSING_TRANSFER, payment, detail)
        elif (found.amount_cents, found.reversed_cents) != (payout.amount_cents, _reversed_cents(payout)):
            yield about_payment(Drift.TRANSFER_MISMATCH, payment, f"Transfer {found.id} has another amount.")


def _reversed_cents(payout: EscrowTransaction) -> int:
    reversals = EscrowTransaction.objects.filter(
        order_id=payout.order_id,
        type=TransactionType.REVERSAL,
        status=TransactionStatus.COMPLETED,
        recipient_type=payout.recipient_type,
    )
    return sum(reversals.values_list("amount_cents", flat=True))


def _ledger(until: datetime) -> Iterator[Finding]:
    """The payment rows and the ledger have the same cents."""
    paid = Payment.objects.filter(status__in=PAID, updated_at__range=(until - LOOK_BACK, until))
    for payment in paid.order_by("pk"):
        booked = ledger.position(payment.order_id)
        on_payment = (payment.captured_cents, payment.refunded_cents)
        if (booked.captured, booked.returned) != on_payment or booked.held < 0:
            yield about_payment(Drift.LEDGER_MISMATCH, payment, f"The ledger says {booked}.")
