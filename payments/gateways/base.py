"""The port to a payment provider: the requests that the flows send, in whole cents and plain values.

Every method is one request. It returns the provider's answer or raises an error of `payments.errors`:
GatewayUnavailable if the outcome is unknown, GatewayStateConflict if the object's state forbids it, GatewayMisuse if
the request is wrong, a Refusal if the answer is no. `key` is the idempotency key of the request; `currency` is ISO 4217
in capitals.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from django.db import connection

from payments.errors import GatewayUnavailable

DEFAULT_CALL_SECONDS = 30.0
_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("payment_call_deadline", default=None)


class IntentStatus(StrEnum):
    """The life of a PaymentIntent, in the provider's words (https://docs.stripe.com/payments/paymentintents/lifecycle)."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A PaymentIntent as the provider shows it. `is_replayed`: a stored answer, which may no longer be true.

    `payment_id` and `order_id` are ours, sent as metadata when the intent was created.
    """

    id: str
    status: IntentStatus
    amount_cents: int
    received_cents: int
    currency: str
    decline_code: str = ""
    charge_id: str = ""
    refunded_cents: int = 0
    capture_before: datetime | None = None
    payment_id: str = ""
    order_id: str = ""
    created_at: datetime | None = None
    is_replayed: bool = False


@dataclass(frozen=True, kw_only=True)
class ProviderRefund:
    """A refund as the provider shows it; `refund_id` is ours."""

    id: str
    amount_cents: int
    status: str
    refund_id: str = ""
    is_replayed: bool = False


@dataclass(frozen=True, kw_only=True)
class ProviderTransfer:
    """A transfer as the provider shows it; `payout_id` is ours, `destination` an account at the provider."""

    id: str
    amount_cents: int
    reversed_cents: int
    destination: str
    group: str
    payout_id: str = ""


@dataclass(frozen=True, kw_only=True)
class ProviderReversal:
    """The reversal of a transfer as the provider shows it; `reversal_id` is ours."""

    id: str
    amount_cents: int
    reversal_id: str = ""


class PaymentGateway(Protocol):
    def create_intent(
        self, *, amount_cents: int, currency: str, payment_method_id: str, payment_id: str, order_id: str, key: str
    ) -> Intent:
        """Create an unconfirmed intent with manual capture. No money moves.

        Raises UnknownPaymentMethod, InvalidPayment.
        """

    def confirm_intent(self, intent_id: str, *, key: str) -> Intent:
        """Authorize the amount. Raises PaymentDeclined if the answer is definitely no."""

    def retrieve_intent(self, intent_id: str) -> Intent: ...

    def cancel_intent(self, intent_id: str, *, key: str) -> Intent: ...

    def capture_intent(self, intent_id: str, *, amount_cents: int, key: str) -> Intent: ...

    def refund_intent(self, intent_id: str, *, amount_cents: int, refund_id: str, key: str) -> ProviderRefund: ...

    def list_refunds(self, intent_id: str) -> list[ProviderRefund]: ...

    def list_intents(self, *, created_after: datetime) -> Iterator[Intent]: ...

    def transfer(
        self,
        *,
        amount_cents: int,
        currency: str,
        destination: str,
        group: str,
        charge_id: str,
        payout_id: str,
        key: str,
    ) -> ProviderTransfer: ...

    def reverse_transfer(
        self, transfer_id: str, *, amount_cents: int, reversal_id: str, key: str
    ) -> ProviderReversal: ...

    def list_reversals(self, transfer_id: str) -> list[ProviderReversal]: ...

    def list_transfers(self, *, group: str) -> list[ProviderTransfer]: ...


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit the gateway calls in the block: all of them together may take `seconds`."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def seconds_left() -> float:
    """How many seconds a call may still take. Raises GatewayUnavailable if none are left."""
    deadline = _deadline.get()
    if deadline is None:
        return DEFAULT_CALL_SECONDS
    left = deadline - time.monotonic()
    if left <= 0:
        raise GatewayUnavailable("No time was left to ask the payment provider.")
    return min(left, DEFAULT_CALL_SECONDS)


def require_no_transaction() -> None:
    """Raise RuntimeError inside a transaction: a call would hold its locks, and a rollback would lose the record."""
    if connection.in_atomic_block:
        raise RuntimeError("A payment gateway may not be called while a database transaction is open.")
