"""Demo data."""

from __future__ import annotations

from payments.sandbox.methods import METHODS
from payments.services import SANDBOX_DEFAULT, store_payment_method


def seed_demo(owner: str) -> None:
    """Give the customer a card that always works. Safe to run again."""
    card = METHODS[SANDBOX_DEFAULT]
    store_payment_method(owner=owner, token=SANDBOX_DEFAULT, brand=card.brand, last4=card.last4)
