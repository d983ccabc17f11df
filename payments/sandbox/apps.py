"""The sandbox as a Django app. `campusg.settings` installs it only while no Stripe key is set."""

from __future__ import annotations

from django.apps import AppConfig


class SandboxConfig(AppConfig):
    name = "payments.sandbox"
    label = "payments_sandbox"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Payment sandbox"
