"""Escrow: a hold over an authorized payment until it is known who gets the money."""

from __future__ import annotations

import uuid

from django.db import IntegrityError, transaction

from payments.errors import CannotCancelEscrow, CannotHoldEscrow, NotAuthorized, UnknownEscrow
from payments.models import EscrowTransaction, Payment, PaymentStatus, TransactionStatus, TransactionType


def hold(
    *, payment_id: str, order_id: str, owner: str, food_cents: int, delivery_fee_cents: int, currency: str
) -> EscrowTransaction:
    """Promise the payment's amount to the order. No money moves. Raises NotAuthorized."""
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
    """Take the promise back, if there is one. A released escrow stays released: that money comes back by a refund."""
    EscrowTransaction.objects.cancel_hold(order_id, reason=reason)


def hold_payment(payment: Payment, *, food_cents: int, delivery_fee_cents: int) -> EscrowTransaction:
    """Hold a payment that no saga holds. Raises NotAuthorized, CannotHoldEscrow."""
    if food_cents + delivery_fee_cents != payment.amount_cents:
        raise CannotHoldEscrow("Food fee and delivery fee must add up to the payment's amount.")
    try:
        with transaction.atomic():
            return hold(
                payment_id=str(payment.pk),
                order_id=str(payment.order_id),
                owner=payment.owner,
                food_cents=food_cents,
                delivery_fee_cents=delivery_fee_cents,
                currency=payment.currency,
            )
    except IntegrityError:
        raise CannotHoldEscrow(f"Order {payment.order_id} has an escrow already.") from None


def cancel(order_id: uuid.UUID, *, reason: str) -> EscrowTransaction:
    """Take a hold back. Raises UnknownEscrow, CannotCancelEscrow once it is being paid out."""
    cancel_hold(str(order_id), reason=reason)
    held = EscrowTransaction.objects.filter(order_id=order_id, type=TransactionType.HOLD).first()
    if held is None:
        raise UnknownEscrow(f"Nothing is held for order {order_id}.")
    if held.status != TransactionStatus.CANCELLED:
        raise CannotCancelEscrow(f"The escrow is {held.status}.")
    return held


def hold_id(order_id: str) -> uuid.UUID:
    return uuid.uuid5(uuid.UUID(str(order_id)), "escrow.hold")
