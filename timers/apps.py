"""Durable timers as a Django app."""

from django.apps import AppConfig


class TimersConfig(AppConfig):
    name = "timers"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Timers"

    def ready(self) -> None:
        from timers import checks  # noqa: F401  (importing registers the system checks)
