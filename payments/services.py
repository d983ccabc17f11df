"""Payment methods, and what the payments API asks for: one function per request, each safe to repeat."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from django.conf import settings

from payments.errors import CannotRelease, UnknownPayment, UnknownPaymentMethod
from payments.flows import authorize as protocol
from payments.flows import capture as captures
from payments.flows import order_locks
from payments.flows import refund as refunds
from payments.gateways import is_sandbox, sandbox
from payments.gateways.base import within
from payments.models import Payment, PaymentMethod, PaymentStatus, Refund

#: How long one request of the payments API may take at the provider, all its calls together.
REQUEST_SECONDS = 20.0
# Stripe's ids: the prefix of the object, then letters, digits and underscores (https://docs.stripe.com/api).
TOKEN_PATTERN = re.compile(r"pm_[A-Za-z0-9_]{1,60}")


@dataclass(frozen=True, kw_only=True)
class ChosenMethod:
    provider_id: str
    brand: str
    last4: str


def check_payment_method(token: str) -> None:
    """Refuse, before an order exists, a token that can't be a payment method. "" means the stored one.

    Raises UnknownPaymentMethod. Reads no table: outside the sandbox only the provider knows whose token it is, and
    says so when the payment is authorized.
    """
    if token and not _may_exist(token):
        raise UnknownPaymentMethod("The payment provider does not know this payment method.")


def _may_exist(token: str) -> bool:
    if is_sandbox():
        return sandbox.find_method(token) is not None
    return TOKEN_PATTERN.fullmatch(token) is not None


def payment_info(owner: str, token: str = "") -> ChosenMethod:
    """The method `owner` pays with: the token given, else the stored default. Raises UnknownPaymentMethod."""
    check_payment_method(token)
    stored = stored_method(owner, token)
    if stored:
        return ChosenMethod(provider_id=stored.provider_id, brand=stored.brand, last4=stored.last4)
    if is_sandbox():
        return sandbox_method(token)
    if not token:
        raise UnknownPaymentMethod("The customer has no stored payment method.")
    if PaymentMethod.objects.filter(provider_id=token).exists():
        raise UnknownPaymentMethod("The payment provider does not know this payment method.")
    return ChosenMethod(provider_id=token, brand="card", last4="")


def stored_method(owner: str, token: str = "") -> PaymentMethod | None:
    methods = PaymentMethod.objects.filter(owner=owner)
    return methods.filter(provider_id=token).first() if token else methods.filter(is_default=True).first()


def store_payment_method(*, owner: str, token: str, brand: str, last4: str) -> PaymentMethod:
    """Remember a method; a customer's first one becomes the default."""
    has_default = PaymentMethod.objects.filter(owner=owner, is_default=True).exists()
    method, _ = PaymentMethod.objects.get_or_create(
        owner=owner,
        provider_id=token,
        defaults={"brand": brand, "last4": last4, "is_default": not has_default},
    )
    return method


def sandbox_method(token: str = "") -> ChosenMethod:
    """One of the sandbox's own methods: the one with this token, else a card that always works."""
    provider_id = token or sandbox.DEFAULT_METHOD
    known = sandbox.find_method(provider_id)
    if known is None:
        raise UnknownPaymentMethod("The payment provider does not know this payment method.")
    return ChosenMethod(provider_id=provider_id, brand=known.brand, last4=known.last4)


def platform_fee_basis_points() -> int:
    """The platform's part of the food, in hundredths of a percent."""
    return int(getattr(settings, "PLATFORM_FEE_BASIS_POINTS", 0))


def payment(payment_id: uuid.UUID | str) -> Payment:
    found = Payment.objects.filter(pk=payment_id).first()
    if found is None:
        raise UnknownPayment(f"There is no payment {payment_id}.")
    return found


def authorize(*, order_id: uuid.UUID, owner: str, amount_cents: int, currency: str, payment_method: str) -> Payment:
    """Authorize a payment for an order that no saga pays for. One order has one payment: its id follows from it."""
    payment_id = uuid.uuid5(order_id, "payment")
    order_locks.require_free(order_id)
    terms = protocol.Terms(
        payment_id=str(payment_id),
        order_id=str(order_id),
        owner=owner,
        amount_cents=amount_cents,
        currency=currency,
        payment_method_id=payment_info(owner, payment_method).provider_id,
        idempotency_key=f"payment:{payment_id}",
    )
    with within(REQUEST_SECONDS):
        return protocol.authorize(terms)


def release(payment: Payment, *, reason: str) -> Payment:
    """Let go of an authorization. Raises CannotRelease once it was, or is being, captured."""
    order_locks.require_free(payment.order_id)
    Payment.objects.claim_release(payment.pk, reason=reason)
    payment.refresh_from_db()
    if payment.status not in (PaymentStatus.VOIDING, PaymentStatus.VOIDED):
        raise CannotRelease(f"The payment is {payment.status}.")
    with within(REQUEST_SECONDS):
        return protocol.void(
            str(payment.pk), str(payment.order_id), reason=reason, idempotency_key=payment.idempotency_key
        )


def capture(payment: Payment, *, amount_cents: int | None) -> Payment:
    order_locks.require_free(payment.order_id)
    with within(REQUEST_SECONDS):
        return captures.capture(payment, amount_cents)


def refund(payment: Payment, *, amount_cents: int | None, key: str, reason: str) -> Refund:
    """Refund part of a captured payment, or what is left of it. Giving money back needs no guard's leave."""
    amount = payment.captured_cents - payment.refund_claimed_cents if amount_cents is None else amount_cents
    with within(REQUEST_SECONDS):
        return refunds.refund(payment, amount_cents=amount, key=key, reason=reason)
