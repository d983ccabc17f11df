"""Demo data."""

from __future__ import annotations

from payments.services import sandbox_method, store_payment_method


def seed_demo(owner: str) -> None:
    """Store the sandbox's card that always works for `owner`. Safe to run again; only for the sandbox."""
    card = sandbox_method()
    store_payment_method(owner=owner, token=card.provider_id, brand=card.brand, last4=card.last4)
