"""What a saga can ask of payments: plain functions, wired by name. `payments.flows.authorize` has the remote ones."""

from __future__ import annotations

from typing import TypedDict

from payments import services
from payments.flows import authorize, capture, escrow, payout
from payments.gateways.base import within


class PaymentInfo(TypedDict):
    payment_method_id: str
    brand: str
    last4: str


class Authorization(TypedDict):
    intent_id: str


class Capture(TypedDict):
    captured_cents: int


class EscrowHold(TypedDict):
    escrow_id: str


def get_payment_info(*, owner: str, payment_method: str) -> PaymentInfo:
    """The method the customer pays with: the token given, else the stored one. Refuses with UnknownPaymentMethod."""
    chosen = services.payment_info(owner, payment_method)
    return {"payment_method_id": chosen.provider_id, "brand": chosen.brand, "last4": chosen.last4}


def authorize_payment(
    *,
    payment_id: str,
    order_id: str,
    owner: str,
    total_cents: int,
    currency: str,
    payment_method_id: str,
    idempotency_key: str,
    timeout: float,
) -> Authorization:
    """Hold the total on the customer's card. Remote: runs without a transaction and may be repeated at any point."""
    terms = authorize.Terms(
        payment_id=payment_id,
        order_id=order_id,
        owner=owner,
        amount_cents=total_cents,
        currency=currency,
        payment_method_id=payment_method_id,
        idempotency_key=idempotency_key,
    )
    with within(timeout):
        return {"intent_id": authorize.authorize(terms).intent_id}


def revert_payment(*, payment_id: str, order_id: str, reason: str, idempotency_key: str, timeout: float) -> None:
    """Release the authorization or refund what was captured, and return only when the provider confirmed it."""
    with within(timeout):
        authorize.void(payment_id, order_id, reason=reason, idempotency_key=idempotency_key)


def hold_escrow(
    *, payment_id: str, order_id: str, owner: str, food_cents: int, delivery_fee_cents: int, currency: str
) -> EscrowHold:
    held = escrow.hold(
        payment_id=payment_id,
        order_id=order_id,
        owner=owner,
        food_cents=food_cents,
        delivery_fee_cents=delivery_fee_cents,
        currency=currency,
    )
    return {"escrow_id": str(held.id)}


def cancel_escrow(*, order_id: str, reason: str) -> None:
    escrow.cancel_hold(order_id, reason=reason)


def capture_payment(*, payment_id: str, timeout: float) -> Capture:
    """Take the authorized amount. Remote; refuses with CannotCapture (also when the authorization has lapsed)."""
    with within(timeout):
        return {"captured_cents": capture.capture(services.payment(payment_id)).captured_cents}


def release_escrow(*, order_id: str, restaurant: str, runner: str, timeout: float) -> None:
    """Pay restaurant, runner and platform out of what was captured. Remote; refuses with CannotReleaseEscrow."""
    recipients = payout.Recipients(
        restaurant=restaurant, runner=runner, platform_fee_basis_points=services.platform_fee_basis_points()
    )
    with within(timeout):
        payout.release(order_id, recipients)
