"""The sandbox as the SDK's HTTP client. All code above it is the same as for Stripe."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import stripe

from payments.gateways.base import seconds_left
from payments.sandbox import provider
from payments.sandbox.wire import ReplyLost, Request


class FakeStripe(stripe.HTTPClient):
    """`chaos` may choose a fault for each request: called with the operation's name and the request, it returns a
    `FaultKind` or ""."""

    name = "sandbox"

    def __init__(self, *, chaos: provider.Chaos | None = None) -> None:
        super().__init__()
        self._chaos = chaos

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        key = {name.lower(): value for name, value in (headers or {}).items()}.get("idempotency-key", "")
        request = Request.parse(method, url, post_data, key)
        try:
            reply = provider.answer(request, seconds_left=seconds_left(), chaos=self._chaos)
        except ReplyLost as lost:
            connection_error: Any = stripe.APIConnectionError
            raise connection_error(str(lost), should_retry=True) from lost
        return reply.body, reply.status, {"request-id": f"req_{secrets.token_hex(7)}", **reply.headers}

    def close(self) -> None:
        """There is no connection to close."""
