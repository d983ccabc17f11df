"""The sandbox provider's own rows. The rest of the product never reads them, as it cannot read Stripe's; tests do.

The tables are called `sandbox_…`, not by the app's label: earlier releases had them in `payments`.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

PROVIDER_ID_LENGTH = 64
KEY_LENGTH = 255
LIVE_STATUSES = ("requires_capture",)


class SandboxIntent(models.Model):
    id = models.CharField(max_length=PROVIDER_ID_LENGTH, primary_key=True)
    status = models.CharField(max_length=32)
    amount = models.BigIntegerField()
    amount_capturable = models.BigIntegerField(default=0)
    amount_received = models.BigIntegerField(default=0)
    amount_refunded = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3)
    payment_method = models.CharField(max_length=64)
    transfer_group = models.CharField(max_length=255, blank=True, default="")
    metadata = models.JSONField(default=dict)
    charge_id = models.CharField(max_length=PROVIDER_ID_LENGTH, blank=True, default="")
    decline_code = models.CharField(max_length=64, blank=True, default="")
    authorizations = models.PositiveSmallIntegerField(default=0)
    capture_before = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "sandbox_intent"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount_received__lte=F("amount"), amount_refunded__lte=F("amount_received")),
                name="sandbox_intent_sums",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["-created_at", "-id"], name="sandbox_intent_newest")]

    def __str__(self) -> str:
        return f"{self.id} {self.status}"


class SandboxRefund(models.Model):
    id = models.CharField(max_length=PROVIDER_ID_LENGTH, primary_key=True)
    intent_id = models.CharField(max_length=PROVIDER_ID_LENGTH, db_index=True)
    amount = models.BigIntegerField()
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "sandbox_refund"

    def __str__(self) -> str:
        return self.id


class SandboxTransfer(models.Model):
    id = models.CharField(max_length=PROVIDER_ID_LENGTH, primary_key=True)
    amount = models.BigIntegerField()
    amount_reversed = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3)
    destination = models.CharField(max_length=255)
    transfer_group = models.CharField(max_length=255, blank=True, default="", db_index=True)
    source_transaction = models.CharField(max_length=PROVIDER_ID_LENGTH, blank=True, default="")
    metadata = models.JSONField(default=dict)
    reversals = models.JSONField(default=list)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "sandbox_transfer"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount_reversed__gte=0, amount_reversed__lte=F("amount")), name="sandbox_transfer_sums"
            ),
        ]

    def __str__(self) -> str:
        return self.id


class SandboxAnswer(models.Model):
    """One idempotency key: its request, and the answer that repetitions get for 24 hours.

    `lost_replies` is how often the reply (or the request) was lost on purpose; `status` 0 means no answer is stored.
    """

    key = models.CharField(max_length=KEY_LENGTH, primary_key=True)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    body = models.TextField(blank=True, default="")
    lost_replies = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        db_table = "sandbox_answer"

    def __str__(self) -> str:
        return self.key


class FaultKind(models.TextChoices):
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    RATE_LIMITED = "rate_limited"
    CONFLICT = "conflict"
    ERROR_500 = "error_500"
    SAVED_500 = "saved_500"
    SAVED_500_AFTER = "saved_500_after"
    GARBAGE = "garbage"
    WRONG_AMOUNT = "wrong_amount"
    SLOW = "slow"


class SandboxFault(models.Model):
    """A fault ordered for a test. It affects the next `times_left` matching requests, or all of them if NULL."""

    Kind = FaultKind

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=32, choices=FaultKind.choices)
    operation = models.CharField(max_length=32, blank=True, default="")
    order_id = models.CharField(max_length=64, blank=True, default="")
    times_left = models.PositiveIntegerField(null=True, blank=True, default=1)
    seconds = models.DecimalField(max_digits=6, decimal_places=3, default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "sandbox_fault"

    def __str__(self) -> str:
        return f"{self.kind} {self.operation}"
