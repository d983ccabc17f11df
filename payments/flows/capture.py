"""Capturing. CAPTURING is claimed by compare-and-set, so that of several captures and voids only one wins."""

from __future__ import annotations

from django.db import transaction

from payments import ledger
from payments.errors import CannotCapture, GatewayStateConflict, GatewayUnavailable
from payments.flows.keys import with_key
from payments.gateways import current_gateway
from payments.gateways.base import Intent, IntentStatus
from payments.models import Payment, PaymentStatus

CAPTURABLE_AGAIN = (PaymentStatus.CAPTURING, PaymentStatus.CAPTURED)


def capture(payment: Payment, amount_cents: int | None = None) -> Payment:
    """Capture the authorized amount, or part of it; the provider releases the rest. Repeating it changes nothing.

    Raises CannotCapture, or GatewayUnavailable (the outcome is unknown: run it again).
    """
    amount = payment.amount_cents if amount_cents is None else amount_cents
    if not Payment.objects.claim_capture(payment.pk, amount):
        _require_same_capture(payment, amount)
    payment.refresh_from_db()
    if payment.status == PaymentStatus.CAPTURING:
        _record_answer(payment, _request(payment, amount))
        payment.refresh_from_db()
    if payment.status not in (PaymentStatus.CAPTURED, PaymentStatus.REFUNDED):
        raise CannotCapture(f"The payment is {payment.status}.")
    return payment


@transaction.atomic
def record_captured(payment: Payment, intent: Intent) -> bool:
    """Record what the provider captured, on the payment and in the ledger. Returns False if it was recorded before."""
    recorded = Payment.objects.record_captured(payment.pk, intent.received_cents, charge_id=intent.charge_id)
    if recorded:
        ledger.book_capture(payment, intent.received_cents)
    return recorded


def _require_same_capture(payment: Payment, amount_cents: int) -> None:
    payment.refresh_from_db()
    if payment.status not in CAPTURABLE_AGAIN:
        raise CannotCapture(f"The payment is {payment.status}.")
    if payment.capturing_cents != amount_cents:
        raise CannotCapture("The payment was captured with another amount.")


def _request(payment: Payment, amount_cents: int) -> Intent:
    gateway = current_gateway()
    try:
        intent = with_key(
            payment,
            "capture",
            lambda key: gateway.capture_intent(payment.intent_id, amount_cents=amount_cents, key=key),
        )
    except GatewayStateConflict:
        return gateway.retrieve_intent(payment.intent_id)
    return gateway.retrieve_intent(payment.intent_id) if intent.is_replayed else intent


def _record_answer(payment: Payment, intent: Intent) -> None:
    if intent.status == IntentStatus.SUCCEEDED:
        record_captured(payment, intent)
    elif intent.status == IntentStatus.CANCELED:
        Payment.objects.record_expired(payment.pk)
    else:
        raise GatewayUnavailable(f"The payment provider has not captured yet ({intent.status}).")
