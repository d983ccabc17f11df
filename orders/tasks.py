"""The Celery task for the housekeeping of orders; beat sends it."""

from __future__ import annotations

from celery import shared_task

from orders import inventory
from orders.use_cases import expire
from sagas.rest import idempotency


@shared_task(name="orders.sweep", ignore_result=True)
def sweep() -> dict[str, int]:
    """Time out orders that no timer watches, release abandoned reservations, delete old kept answers."""
    return {
        "timed_out": expire.sweep_unattended(),
        "reservations_released": inventory.release_expired(),
        "answers_forgotten": idempotency.forget_old_answers(),
    }
