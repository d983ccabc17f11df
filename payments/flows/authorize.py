"""Authorize a payment and void it again, so that no authorization is left behind, whatever is lost on the way.

A lost reply means that the outcome is unknown, never that the request failed. So:

1. commit the payment row and its idempotency key;
2. create the intent unconfirmed, which moves no money;
3. commit the intent's id;
4. only then confirm the intent.

To undo: mark the payment VOIDING, then cancel the intent until "canceled" is read back. A confirmation that arrives
later fails at the provider; one that came before is ended by the cancel.

Every function may be run again from the start after a crash at any line. None may run inside a transaction.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from django.db import IntegrityError

from payments.errors import (
    AuthenticationRequired,
    GatewayStateConflict,
    GatewayUnavailable,
    InvalidPayment,
    PaymentDeclined,
    PaymentReverted,
    PaymentTermsDiffer,
    UnknownPaymentMethod,
)
from payments.flows.capture import record_captured
from payments.flows.keys import rotate_key, with_key
from payments.flows.refund import refund_rest
from payments.gateways import current_gateway
from payments.gateways.base import Intent, IntentStatus
from payments.models import Payment, PaymentStatus

logger = logging.getLogger(__name__)

FIXED_TERMS = ("order_id", "owner", "amount_cents", "currency", "payment_method_id")
AUTHENTICATION_REQUIRED = "authentication_required"
CANCELED_ELSEWHERE = "canceled_at_provider"
CANCEL_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What to authorize. Committed before the provider is asked; a payment id never gets other terms.

    The ids are UUIDs as text, `currency` is ISO 4217, `payment_method_id` is the provider's token (`pm_…`).
    """

    payment_id: str
    order_id: str
    owner: str
    amount_cents: int
    currency: str
    payment_method_id: str
    idempotency_key: str


def authorize(terms: Terms) -> Payment:
    """Authorize the amount on the customer's card, exactly once. Returns the payment, AUTHORIZED or already further.

    Raises PaymentDeclined, AuthenticationRequired, UnknownPaymentMethod, InvalidPayment (the answer is no),
    PaymentReverted (it was voided before), PaymentTermsDiffer, GatewayUnavailable (unknown: run it again).
    """
    payment = _get_or_insert(terms)
    if payment.status == PaymentStatus.PENDING and not payment.intent_id:
        payment = _create_intent(payment)
    if payment.status == PaymentStatus.PENDING:
        payment = _confirm_intent(payment)
    return _require_authorized(payment)


def void_authorization(payment_id: str, order_id: str, *, reason: str, idempotency_key: str) -> Payment:
    """Make sure that this payment has no live authorization and never gets one. Captured money is refunded.

    Also right if `authorize` never ran, failed half way, or runs now. Returns only when the provider has confirmed it.
    Raises GatewayUnavailable (unknown: run it again), PayoutInProgress, CannotRefund.
    """
    payment = _claim_void(payment_id, order_id, reason=reason, idempotency_key=idempotency_key)
    if payment.status == PaymentStatus.VOIDING:
        payment = _finish_void(payment)
    if payment.status == PaymentStatus.CAPTURED:
        payment = refund_rest(payment, reason=reason)
    return payment


def _get_or_insert(terms: Terms) -> Payment:
    wanted = Payment(
        id=uuid.UUID(terms.payment_id),
        order_id=uuid.UUID(terms.order_id),
        owner=terms.owner,
        amount_cents=terms.amount_cents,
        currency=terms.currency,
        payment_method_id=terms.payment_method_id,
        idempotency_key=terms.idempotency_key,
    )
    payment = _insert(wanted)
    was_voided_before = payment.amount_cents == 0
    if not was_voided_before and any(getattr(payment, name) != getattr(wanted, name) for name in FIXED_TERMS):
        raise PaymentTermsDiffer(f"Payment {payment.id} was requested with other terms before.")
    return payment


def _insert(payment: Payment) -> Payment:
    """Commit the row before the provider is asked. Returns the existing row if an earlier run has inserted it."""
    try:
        payment.save(force_insert=True)
    except IntegrityError:
        found = Payment.objects.filter(pk=payment.pk).first()
        if found is None:
            raise PaymentTermsDiffer(f"Order {payment.order_id} already has another payment.") from None
        return found
    return payment


def _create_intent(payment: Payment) -> Payment:
    try:
        intent = with_key(payment, "create", lambda key: _request_intent(payment, key))
    except (UnknownPaymentMethod, InvalidPayment) as refusal:
        Payment.objects.record_declined(payment.pk, refusal.code, status=PaymentStatus.PENDING)
        raise
    _require_terms(payment, intent)
    if Payment.objects.record_intent(payment.pk, intent.id, status=PaymentStatus.PENDING):
        payment.intent_id = intent.id
    else:
        payment.refresh_from_db()
    return payment


def _request_intent(payment: Payment, key: str) -> Intent:
    return current_gateway().create_intent(
        amount_cents=payment.amount_cents,
        currency=payment.currency,
        payment_method_id=payment.payment_method_id,
        payment_id=str(payment.id),
        order_id=str(payment.order_id),
        key=key,
    )


def _confirm_intent(payment: Payment) -> Payment:
    try:
        intent = with_key(payment, "confirm", lambda key: current_gateway().confirm_intent(payment.intent_id, key=key))
    except PaymentDeclined as declined:
        code = declined.extra["decline_code"]
        Payment.objects.record_declined(payment.pk, code, status=PaymentStatus.PENDING)
        payment.refresh_from_db()
        return payment
    except GatewayStateConflict:
        intent = current_gateway().retrieve_intent(payment.intent_id)
    if intent.is_replayed:
        # A stored answer was true when it was stored; the authorization may have ended since.
        intent = current_gateway().retrieve_intent(payment.intent_id)
    _record_confirmation(payment, intent)
    payment.refresh_from_db()
    return payment


def _record_confirmation(payment: Payment, intent: Intent) -> None:
    match intent.status:
        case IntentStatus.REQUIRES_CAPTURE:
            _require_terms(payment, intent)
            Payment.objects.record_authorized(payment.pk, capture_before=intent.capture_before)
        case IntentStatus.REQUIRES_ACTION:
            # The customer could still complete the authorization, so it is voided before the refusal is returned.
            Payment.objects.claim_void(payment.pk, decline_code=AUTHENTICATION_REQUIRED)
        case IntentStatus.REQUIRES_PAYMENT_METHOD:
            code = intent.decline_code or "card_declined"
            Payment.objects.record_declined(payment.pk, code, status=PaymentStatus.PENDING)
        case IntentStatus.CANCELED:
            Payment.objects.record_declined(payment.pk, CANCELED_ELSEWHERE, status=PaymentStatus.PENDING)
        case _:
            raise GatewayUnavailable(f"The payment provider has not decided yet ({intent.status}).")


def _require_authorized(payment: Payment) -> Payment:
    """Return the payment, or raise why it is not authorized. The same row gives the same result however often."""
    if payment.status == PaymentStatus.VOIDING and payment.decline_code == AUTHENTICATION_REQUIRED:
        payment = _finish_void(payment)
    if payment.decline_code == AUTHENTICATION_REQUIRED:
        raise AuthenticationRequired(decline_code=payment.decline_code)
    if payment.decline_code == UnknownPaymentMethod.code:
        raise UnknownPaymentMethod
    if payment.decline_code == InvalidPayment.code:
        raise InvalidPayment
    if payment.status == PaymentStatus.DECLINED:
        detail = f"The card was declined: {payment.decline_code}."
        raise PaymentDeclined(detail, decline_code=payment.decline_code)
    if payment.status not in (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING, PaymentStatus.CAPTURED):
        raise PaymentReverted(f"Payment {payment.id} was voided before it was authorized.")
    return payment


def _claim_void(payment_id: str, order_id: str, *, reason: str, idempotency_key: str) -> Payment:
    """Mark the payment VOIDING. One that does not exist is inserted as VOIDED: its `authorize` may still come."""
    if not Payment.objects.claim_void(payment_id, reason=reason):
        voided_before_it_began = Payment(
            id=uuid.UUID(payment_id),
            order_id=uuid.UUID(order_id),
            status=PaymentStatus.VOIDED,
            currency="",
            amount_cents=0,
            idempotency_key=idempotency_key,
            reason=reason,
        )
        payment = Payment.objects.filter(pk=payment_id).first() or _insert(voided_before_it_began)
        if payment.status in (PaymentStatus.PENDING, PaymentStatus.AUTHORIZED):
            Payment.objects.claim_void(payment_id, reason=reason)
    return Payment.objects.get(pk=payment_id)


def _finish_void(payment: Payment) -> Payment:
    if not payment.intent_id and not _find_intent(payment):
        Payment.objects.record_voided(payment.pk)
        payment.refresh_from_db()
        return payment
    _cancel_until_read_back(payment)
    payment.refresh_from_db()
    return payment


def _find_intent(payment: Payment) -> bool:
    """Repeat the creation with the same key: the provider answers with the intent that may exist already.

    Returns False if there is none, or if none can ever be confirmed because nobody will know its id.
    """
    try:
        intent = with_key(payment, "create", lambda key: _request_intent(payment, key))
    except (UnknownPaymentMethod, InvalidPayment):
        return False
    Payment.objects.record_intent(payment.pk, intent.id, status=PaymentStatus.VOIDING)
    payment.refresh_from_db()
    return True


def _cancel_until_read_back(payment: Payment) -> None:
    for _ in range(CANCEL_ROUNDS):
        _request_cancel(payment)
        intent = current_gateway().retrieve_intent(payment.intent_id)
        if intent.status == IntentStatus.CANCELED:
            Payment.objects.record_voided(payment.pk)
            return
        if intent.status == IntentStatus.SUCCEEDED:
            record_captured(payment, intent)
            return
    raise GatewayUnavailable("The payment provider has not confirmed yet that the authorization is canceled.")


def _request_cancel(payment: Payment) -> None:
    try:
        with_key(payment, "cancel", lambda key: current_gateway().cancel_intent(payment.intent_id, key=key))
    except GatewayStateConflict as conflict:
        # Canceled or captured already: reading it back tells which. A stored "not now" would be repeated forever.
        if conflict.is_saved:
            rotate_key(payment)


def _require_terms(payment: Payment, intent: Intent) -> None:
    if (intent.amount_cents, intent.currency) != (payment.amount_cents, payment.currency):
        logger.error(
            "The provider answered with another amount",
            extra={"action": "payment_amount_differs", "payment_id": str(payment.id), "intent_id": intent.id},
        )
        raise GatewayUnavailable("The payment provider answered with another amount than requested.")
