"""Refunds: money that goes back to the customer."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from payments.models.lengths import PROVIDER_ID_LENGTH, REASON_LENGTH


class RefundStatus(models.TextChoices):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class Refund(models.Model):
    """One refund. Its cents are claimed on the payment in the transaction that inserts the row."""

    Status = RefundStatus

    id = models.UUIDField(primary_key=True, editable=False)
    payment_id = models.UUIDField()
    amount_cents = models.BigIntegerField()
    status = models.CharField(max_length=16, choices=RefundStatus.choices, default=RefundStatus.PENDING)
    provider_id = models.CharField(max_length=PROVIDER_ID_LENGTH, blank=True, default="")
    reason = models.CharField(max_length=REASON_LENGTH, blank=True, default="")
    key_round = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(status__in=RefundStatus.values), name="refund_status_known"),
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="refund_amount_positive"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["payment_id"], name="refund_of_payment"),
            models.Index(fields=["updated_at"], condition=Q(status=RefundStatus.PENDING), name="refund_pending"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.status}"

    def key(self) -> str:
        """The idempotency key of this refund at the provider."""
        return f"refund:{self.id}:{self.key_round}"
