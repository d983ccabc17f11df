"""The provider's webhook events, each of them once."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from payments.models.lengths import PROVIDER_ID_LENGTH


class ProviderEvent(models.Model):
    """The id of an event that arrived with a valid signature. Its content is not used: the object it names is read
    from the provider again."""

    id = models.CharField(max_length=PROVIDER_ID_LENGTH, primary_key=True)
    type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=PROVIDER_ID_LENGTH, blank=True, default="")
    received_at = models.DateTimeField(default=timezone.now)
    handled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["received_at"], condition=Q(handled_at=None), name="provider_event_unhandled"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"
