"""Which payment provider is used: Stripe if a key is set, else the sandbox behind the same SDK."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.conf import settings

from payments.gateways import sandbox
from payments.gateways.base import PaymentGateway

if TYPE_CHECKING:
    from stripe import HTTPClient, StripeClient

SANDBOX_API_KEY = "sk_test_sandbox"
_chosen: contextvars.ContextVar[PaymentGateway | None] = contextvars.ContextVar("payment_gateway", default=None)


def is_sandbox() -> bool:
    """Whether the sandbox is the payment provider, here or at `STRIPE_API_BASE`."""
    return not settings.STRIPE_API_KEY


def current_gateway() -> PaymentGateway:
    """The gateway of `use_gateway`, else the one of the settings."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    return _gateway(settings.STRIPE_API_KEY, getattr(settings, "STRIPE_API_BASE", ""))


@contextlib.contextmanager
def use_gateway(gateway: PaymentGateway) -> Iterator[PaymentGateway]:
    """Make this the current gateway inside the block, for a recorder or a second provider."""
    token = _chosen.set(gateway)
    try:
        yield gateway
    finally:
        _chosen.reset(token)


# The SDK takes 0.2 s and 22 MB to import, so nothing loads it before the first payment.
@functools.lru_cache(maxsize=4)
def _gateway(api_key: str, api_base: str) -> PaymentGateway:
    from payments.gateways.stripe_gateway import StripeGateway

    return StripeGateway(open_client(api_key, api_base))


def open_client(api_key: str, api_base: str = "", *, http_client: HTTPClient | None = None) -> StripeClient:
    """The SDK's client. Without `http_client` it calls Stripe, `api_base`, or the sandbox in this process."""
    import stripe

    from payments.gateways.http import BoundedHTTPClient

    stripe.enable_telemetry = False
    # The SDK logs every request at INFO; ours are in the history of the saga.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    # The SDK never retries by itself: the engine does, with the same key, and counts the attempts.
    options: dict[str, Any] = {"max_network_retries": 0}
    if api_base:
        options["base_addresses"] = {"api": api_base}
    if http_client is None:
        http_client = BoundedHTTPClient() if api_key or api_base else sandbox.http_client()
    return stripe.StripeClient(api_key or SANDBOX_API_KEY, http_client=http_client, **options)
