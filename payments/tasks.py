"""What runs by the clock."""

from __future__ import annotations

from celery import shared_task

from payments.reconcile import reconcile


@shared_task(name="payments.reconcile")
def reconcile_payments() -> None:
    """Compare with the provider, heal what has one right answer, log the rest as errors."""
    reconcile()
