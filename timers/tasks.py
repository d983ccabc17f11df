"""Celery's door to the alarm clock; beat knocks here."""

from __future__ import annotations

from celery import shared_task

from timers import services


@shared_task(name="timers.sweep", ignore_result=True)
def sweep() -> int:
    """Fire every event that is due. Lost, doubled or late sweeps do no harm: the next one takes what is left."""
    return services.fire_due()
