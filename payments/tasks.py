"""The Celery task that beat starts for payments."""

from __future__ import annotations

from celery import shared_task

from payments.reconcile import reconcile


@shared_task(name="payments.reconcile")
def reconcile_payments() -> None:
    """Compare our books with the provider's, correct what has one right answer, log the rest as errors."""
    reconcile()
