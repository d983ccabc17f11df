"""Payment methods, and one function for each request of the payments API. All are safe to repeat."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from django.conf import settings

from payments.errors import CannotRelease, UnknownPayment, UnknownPaymentMethod
from payments.flows import authorize as authorizations
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
    """A payment method to pay with: the provider's token (`pm_…`), the card's brand and its last four digits."""

    provider_id: str
    brand: str
    last4: str


def check_payment_method(token: str) -> None:
    """Refuse a token that can't be a payment method, before an order exists. "" means the stored one.

    Raises UnknownPaymentMethod. Reads no table: only the provider knows whose token it is, and says so when the payment
    is authorized.
    """
    if token and not _may_exist(token):
        raise UnknownPaymentMethod("The payment provider does not know this payment method.")


def _may_exist(token: str) -> bool:
    if is_sandbox():
        return sandbox.find_method(token) is not None
    return TOKEN_PATTERN.fullmatch(token) is not None


def payment_info(owner: str, token: str = "") -> ChosenMethod:
    """The method that `owner` pays with: the one with this token, else the stored default.

    The sandbox has a default for everybody. Raises UnknownPaymentMethod, also for a token stored by another customer.
    """
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
    """The owner's stored method with this token, or the default one."""
    methods = PaymentMethod.objects.filter(owner=owner)
    return methods.filter(provider_id=token).first() if token else methods.filter(is_default=True).first()


def store_payment_method(*, owner: str, token: str, brand: str, last4: str) -> PaymentMethod:
    """Store a method of the provider. A customer's first one becomes the default. Safe to repeat."""
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
    """The platform's share of the food's price, in hundredths of a percent."""
    return int(getattr(settings, "PLATFORM_FEE_BASIS_POINTS", 0))


def payment(payment_id: uuid.UUID | str) -> Payment:
    """Raises UnknownPayment."""
    found = Payment.objects.filter(pk=payment_id).first()
    if found is None:
        raise UnknownPayment(f"There is no payment {payment_id}.")
    return found


def authorize(*, order_id: uuid.UUID, owner: str, amount_cents: int, currency: str, payment_method: str) -> Payment:
    """Authorize a payment for an order that has no saga. The payment's id is derived from the order's: there is one.

    Raises UnknownPaymentMethod, the order lock's Problem, and as `flows.authorize.authorize` does.
    """
    payment_id = uuid.uuid5(order_id, "payment")
    order_locks.require_free(order_id)
    terms = authorizations.Terms(
        payment_id=str(payment_id),
        order_id=str(order_id),
        owner=owner,
        amount_cents=amount_cents,
        currency=currency,
        payment_method_id=payment_info(owner, payment_method).provider_id,
        idempotency_key=f"payment:{payment_id}",
    )
    with within(REQUEST_SECONDS):
        return authorizations.authorize(terms)


def void_authorization(payment: Payment, *, reason: str) -> Payment:
    """Void an authorization. Raises CannotRelease if it is captured, the order lock's Problem, GatewayUnavailable."""
    order_locks.require_free(payment.order_id)
    Payment.objects.claim_void_unless_captured(payment.pk, reason=reason)
    payment.refresh_from_db()
    if payment.status not in (PaymentStatus.VOIDING, PaymentStatus.VOIDED):
        raise CannotRelease(f"The payment is {payment.status}.")
    with within(REQUEST_SECONDS):
        return authorizations.void_authorization(
            str(payment.pk), str(payment.order_id), reason=reason, idempotency_key=payment.idempotency_key
        )


def capture(payment: Payment, *, amount_cents: int | None) -> Payment:
    """Capture this amount, or all of it (None). Raises the order lock's Problem, and as `flows.capture.capture`."""
    order_locks.require_free(payment.order_id)
    with within(REQUEST_SECONDS):
        return captures.capture(payment, amount_cents)


def refund(payment: Payment, *, amount_cents: int | None, key: str, reason: str) -> Refund:
    """Refund this amount, or what is left (None), also if the order is locked. Raises as `flows.refund.refund`."""
    amount = payment.captured_cents - payment.refund_claimed_cents if amount_cents is None else amount_cents
    with within(REQUEST_SECONDS):
        return refunds.refund(payment, amount_cents=amount, key=key, reason=reason)
