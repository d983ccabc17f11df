"""Escrow: what is held for an order, what was paid out of it, and what was taken back."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from payments.models.lengths import OWNER_LENGTH, PROVIDER_ID_LENGTH, REASON_LENGTH


class TransactionType(models.TextChoices):
    HOLD = "HOLD"
    RELEASE = "RELEASE"
    REVERSAL = "REVERSAL"


class TransactionStatus(models.TextChoices):
    """
    A hold:                 HELD -> RELEASING -> RELEASED, or HELD -> CANCELLED
    A release, a reversal:  PENDING -> COMPLETED
    """

    HELD = "HELD"
    RELEASING = "RELEASING"
    RELEASED = "RELEASED"
    CANCELLED = "CANCELLED"
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"


class RecipientType(models.TextChoices):
    NOBODY = ""
    RESTAURANT = "restaurant"
    RUNNER = "runner"
    PLATFORM = "platform"


class EscrowQuerySet(models.QuerySet["EscrowTransaction"]):
    """All changes are compare-and-set. They return True if this call made the change."""

    def cancel_hold(self, order_id: uuid.UUID | str, *, reason: str) -> bool:
        rows = self.filter(order_id=order_id, type=TransactionType.HOLD, status=TransactionStatus.HELD)
        changed = rows.update(
            status=TransactionStatus.CANCELLED, reason=reason[:REASON_LENGTH], updated_at=timezone.now()
        )
        return changed == 1

    def claim_release(self, hold_id: uuid.UUID) -> bool:
        rows = self.filter(pk=hold_id, status=TransactionStatus.HELD)
        return rows.update(status=TransactionStatus.RELEASING, updated_at=timezone.now()) == 1

    def record_released(self, hold_id: uuid.UUID) -> bool:
        rows = self.filter(pk=hold_id, status=TransactionStatus.RELEASING)
        return rows.update(status=TransactionStatus.RELEASED, updated_at=timezone.now()) == 1

    def record_completed(self, transaction_id: uuid.UUID, *, transfer_id: str) -> bool:
        rows = self.filter(pk=transaction_id, status=TransactionStatus.PENDING)
        changed = rows.update(status=TransactionStatus.COMPLETED, transfer_id=transfer_id, updated_at=timezone.now())
        return changed == 1


class EscrowTransaction(models.Model):
    """A hold reserves an authorized payment for an order; no money moves. A release pays one recipient out of what was
    captured. A reversal takes such a payment back for a refund."""

    Type = TransactionType
    Status = TransactionStatus

    id = models.UUIDField(primary_key=True, editable=False)
    order_id = models.UUIDField()
    payment_id = models.UUIDField()
    owner = models.CharField(max_length=OWNER_LENGTH)
    type = models.CharField(max_length=16, choices=TransactionType.choices)
    status = models.CharField(max_length=16, choices=TransactionStatus.choices)
    recipient_type = models.CharField(max_length=16, choices=RecipientType.choices, blank=True, default="")
    recipient = models.CharField(max_length=OWNER_LENGTH, blank=True, default="")
    currency = models.CharField(max_length=3)
    amount_cents = models.BigIntegerField()
    food_fee_cents = models.BigIntegerField(default=0)
    delivery_fee_cents = models.BigIntegerField(default=0)
    refund_id = models.UUIDField(null=True, blank=True)
    transfer_id = models.CharField(max_length=PROVIDER_ID_LENGTH, blank=True, default="")
    key_round = models.PositiveSmallIntegerField(default=0)
    reason = models.CharField(max_length=REASON_LENGTH, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = EscrowQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(type__in=TransactionType.values), name="escrow_type_known"),
            models.CheckConstraint(condition=Q(status__in=TransactionStatus.values), name="escrow_status_known"),
            models.CheckConstraint(
                condition=Q(food_fee_cents__gte=0, delivery_fee_cents__gte=0), name="escrow_fees_not_negative"
            ),
            models.CheckConstraint(
                condition=~Q(type=TransactionType.HOLD) | Q(amount_cents=F("food_fee_cents") + F("delivery_fee_cents")),
                name="escrow_hold_is_its_fees",
            ),
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="escrow_amount_positive"),
            models.CheckConstraint(
                condition=Q(type=TransactionType.HOLD, recipient_type="")
                | (~Q(type=TransactionType.HOLD) & ~Q(recipient_type="")),
                name="escrow_only_a_hold_has_no_recipient",
            ),
            models.UniqueConstraint(
                fields=["order_id"], condition=Q(type=TransactionType.HOLD), name="escrow_one_hold_per_order"
            ),
            models.UniqueConstraint(
                fields=["order_id", "recipient_type"],
                condition=Q(type=TransactionType.RELEASE),
                name="escrow_one_release_per_recipient",
            ),
            models.UniqueConstraint(
                fields=["refund_id", "recipient_type"],
                condition=Q(type=TransactionType.REVERSAL),
                name="escrow_one_reversal_per_refund",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["owner", "-created_at", "-id"], name="escrow_of_owner"),
            models.Index(fields=["-created_at", "-id"], name="escrow_newest"),
            models.Index(fields=["order_id"], name="escrow_of_order"),
            models.Index(fields=["updated_at"], condition=Q(status=TransactionStatus.HELD), name="escrow_held"),
            models.Index(
                fields=["updated_at"],
                condition=Q(status__in=(TransactionStatus.PENDING, TransactionStatus.RELEASING)),
                name="escrow_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id} {self.status}"

    def key(self) -> str:
        """The idempotency key of the transfer or reversal at the provider."""
        return f"{self.type.lower()}:{self.id}:{self.key_round}"
