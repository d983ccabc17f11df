"""The steps of payments in a saga. Arguments are wired by name; amounts are cents, `timeout` is in seconds.

The remote steps run without a transaction and may be repeated at any point. Each raises GatewayUnavailable if its
outcome is unknown; the engine then runs it again.
"""

from __future__ import annotations

from typing import TypedDict

from payments import services
from payments.flows import authorize, capture, escrow, payout
from payments.gateways.base import within


class PaymentInfo(TypedDict):
    """The provider's token (`pm_…`), the card's brand and its last four digits."""

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
    """The method the customer pays with: the one with this token, else the stored one. Raises UnknownPaymentMethod."""
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
    """Authorize the total on the customer's card. Remote. Raises as `flows.authorize.authorize` does."""
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
    """Void the authorization, or refund what was captured. Remote; returns only when the provider has confirmed it."""
    with within(timeout):
        authorize.void_authorization(payment_id, order_id, reason=reason, idempotency_key=idempotency_key)


def hold_escrow(
    *, payment_id: str, order_id: str, owner: str, food_cents: int, delivery_fee_cents: int, currency: str
) -> EscrowHold:
    """Hold the payment's amount for the order; no money moves. Raises NotAuthorized."""
    held = escrow.create_hold(
        payment_id=payment_id,
        order_id=order_id,
        owner=owner,
        food_cents=food_cents,
        delivery_fee_cents=delivery_fee_cents,
        currency=currency,
    )
    return {"escrow_id": str(held.id)}


def cancel_escrow(*, order_id: str, reason: str) -> None:
    """Cancel the order's hold, if there is one."""
    escrow.cancel_hold(order_id, reason=reason)


def capture_payment(*, payment_id: str, timeout: float) -> Capture:
    """Capture the authorized amount. Remote. Raises CannotCapture, also if the authorization has lapsed."""
    with within(timeout):
        return {"captured_cents": capture.capture(services.payment(payment_id)).captured_cents}


def release_escrow(*, order_id: str, restaurant: str, runner: str, timeout: float) -> None:
    """Pay restaurant, runner and platform out of what was captured. Remote. Raises CannotReleaseEscrow."""
    recipients = payout.Recipients(
        restaurant=restaurant, runner=runner, platform_fee_basis_points=services.platform_fee_basis_points()
    )
    with within(timeout):
        payout.release_escrow(order_id, recipients)
