"""The Celery task that beat starts for orders."""

from __future__ import annotations

from celery import shared_task

from orders import inventory
from orders.use_cases import expire
from sagas.rest import idempotency


@shared_task(name="orders.sweep", ignore_result=True)
def sweep() -> dict[str, int]:
    """Cancel overdue orders that have no timer, release expired reservations, delete old stored answers.

    Returns how many of each.
    """
    return {
        "timed_out": expire.sweep_unattended(),
        "reservations_released": inventory.release_expired(),
        "answers_forgotten": idempotency.forget_old_answers(),
    }
