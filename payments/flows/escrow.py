"""Escrow: an authorized payment is held for its order until it is known who gets the money."""

from __future__ import annotations

import uuid

from django.db import IntegrityError, transaction

from payments.errors import CannotCancelEscrow, CannotHoldEscrow, NotAuthorized, UnknownEscrow
from payments.models import EscrowTransaction, Payment, PaymentStatus, TransactionStatus, TransactionType


def create_hold(
    *, payment_id: str, order_id: str, owner: str, food_cents: int, delivery_fee_cents: int, currency: str
) -> EscrowTransaction:
    """Hold the payment's amount for the order. No money moves. Raises NotAuthorized."""
    if not Payment.objects.filter(pk=payment_id, status=PaymentStatus.AUTHORIZED).exists():
        raise NotAuthorized(f"Payment {payment_id} is not authorized.")
    return EscrowTransaction.objects.create(
        id=hold_id(order_id),
        order_id=order_id,
        payment_id=payment_id,
        owner=owner,
        type=TransactionType.HOLD,
        status=TransactionStatus.HELD,
        currency=currency,
        amount_cents=food_cents + delivery_fee_cents,
        food_fee_cents=food_cents,
        delivery_fee_cents=delivery_fee_cents,
    )


def cancel_hold(order_id: str, *, reason: str) -> None:
    """Cancel the order's hold, if there is one. A released one stays released: its money comes back by a refund."""
    EscrowTransaction.objects.cancel_hold(order_id, reason=reason)


def hold_payment(payment: Payment, *, food_cents: int, delivery_fee_cents: int) -> EscrowTransaction:
    """Hold a payment of an order that has no saga. The fees must add up to its amount.

    Raises NotAuthorized, CannotHoldEscrow.
    """
    if food_cents + delivery_fee_cents != payment.amount_cents:
        raise CannotHoldEscrow("Food fee and delivery fee must add up to the payment's amount.")
    try:
        with transaction.atomic():
            return create_hold(
                payment_id=str(payment.pk),
                order_id=str(payment.order_id),
                owner=payment.owner,
                food_cents=food_cents,
                delivery_fee_cents=delivery_fee_cents,
                currency=payment.currency,
            )
    except IntegrityError:
        raise CannotHoldEscrow(f"Order {payment.order_id} already has an escrow.") from None


def cancel(order_id: uuid.UUID, *, reason: str) -> EscrowTransaction:
    """Cancel the order's hold. Raises UnknownEscrow, or CannotCancelEscrow once it is being paid out."""
    cancel_hold(str(order_id), reason=reason)
    held = EscrowTransaction.objects.filter(order_id=order_id, type=TransactionType.HOLD).first()
    if held is None:
        raise UnknownEscrow(f"Nothing is held for order {order_id}.")
    if held.status != TransactionStatus.CANCELLED:
        raise CannotCancelEscrow(f"The escrow is {held.status}.")
    return held


def hold_id(order_id: str) -> uuid.UUID:
    """The id of the order's hold: derived, so that one order cannot have two."""
    return uuid.uuid5(uuid.UUID(str(order_id)), "escrow.hold")
