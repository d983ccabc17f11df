"""The payments app: payment methods, payments, escrow, ledger, and the gateway to the provider."""

from __future__ import annotations

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    default_auto_field = "django.db.models.BigAutoField"
