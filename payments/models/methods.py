"""How customers pay."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from payments.models.lengths import OWNER_LENGTH, TOKEN_LENGTH


class PaymentMethod(models.Model):
    """A customer's card as the provider shows it: a token, the brand and the last four digits, never the number."""

    id = models.BigAutoField(primary_key=True)
    owner = models.CharField(max_length=OWNER_LENGTH)
    provider_id = models.CharField(max_length=TOKEN_LENGTH)
    brand = models.CharField(max_length=32)
    last4 = models.CharField(max_length=4)
    is_default = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "provider_id"], name="payment_method_once_per_owner"),
            models.UniqueConstraint(
                fields=["owner"], condition=Q(is_default=True), name="payment_method_one_default_per_owner"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.brand} •••• {self.last4}"
