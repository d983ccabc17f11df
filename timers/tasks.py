"""The Celery task that beat starts for timers."""

from __future__ import annotations

from celery import shared_task

from timers import services


@shared_task(name="timers.sweep", ignore_result=True)
def sweep() -> int:
    """Fire the due timers. Returns how many. A lost, doubled or late sweep does no harm: the next one continues."""
    return services.fire_due()
