"""The SDK's HTTP client, with the step's time limit instead of the SDK's 80 seconds."""

from __future__ import annotations

from typing import Any

import stripe

from payments.gateways.base import seconds_left


class BoundedHTTPClient(stripe.RequestsClient):
    """All threads share one client, so the limit is read for each request and not stored."""

    @property
    def _timeout(self) -> float:
        return seconds_left()

    @_timeout.setter
    def _timeout(self, value: Any) -> None:
        """The base class sets its default here; the step's limit replaces it."""
