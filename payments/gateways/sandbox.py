"""The one module outside `payments.sandbox` that imports it, and only when one of these functions is called.

`payments.sandbox` is installed only while no Stripe key is set, so nobody calls them in production.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe import HTTPClient

    from payments.sandbox.methods import SandboxMethod

DEFAULT_METHOD = "pm_card_visa"


def http_client() -> HTTPClient:
    """A client for the official SDK that sends its requests to the sandbox in this process."""
    from payments.sandbox.client import FakeStripe

    return FakeStripe()


def find_method(token: str) -> SandboxMethod | None:
    """The sandbox's payment method with this token (`pm_…`), or None if it has none."""
    from payments.sandbox.methods import METHODS

    return METHODS.get(token)
