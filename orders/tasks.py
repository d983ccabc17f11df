"""Celery's door to the housekeeping of orders; beat knocks here."""

from __future__ import annotations

from celery import shared_task

from orders import idempotency, inventory
from orders.use_cases import expire


@shared_task(name="orders.sweep", ignore_result=True)
def sweep() -> dict[str, int]:
    """Time out orders no timer watches, give abandoned reservations back, forget answers nobody asks for any more."""
    return {
        "timed_out": expire.sweep_unattended(),
        "reservations_released": inventory.release_expired(),
        "answers_forgotten": idempotency.forget_old_answers(),
    }
