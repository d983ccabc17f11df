from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class SagasConfig(AppConfig):
    """The engine. At start-up it imports every app's `sagas` package and turns the step functions into Celery tasks."""

    name = "sagas"
    verbose_name = "Sagas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sagas import checks, task_logs, tasks
        from sagas.definition import checks as definition_checks

        autodiscover_modules("sagas")
        tasks.register_step_tasks()
        definition_checks.register_checks()
        checks.register_checks()
        task_logs.quieten_periodic_tasks()
