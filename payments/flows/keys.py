"""Idempotency keys that the provider has burned: a server error stored under a key answers forever."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Protocol, TypeVar

from payments.errors import GatewayUnavailable
from payments.models import Payment

KEY_ROUNDS = 3
Answer = TypeVar("Answer")


class Keyed(Protocol):
    """A row with a key of its own: a refund, a payout, a reversal."""

    id: uuid.UUID
    key_round: int

    def key(self) -> str: ...

    def save(self, *, update_fields: list[str]) -> None: ...


def with_key(payment: Payment, effect: str, request: Callable[[str], Answer]) -> Answer:
    """Send a request about a payment's intent under the payment's own key.

    When the provider stored a server error under it, that key can never succeed again, so go on with the next one.
    That is safe for the effects on an intent: an unconfirmed intent moves no money and only the one whose id was
    committed is ever confirmed; confirming, capturing or canceling one intent twice is refused by the provider.
    """
    for _ in range(KEY_ROUNDS):
        try:
            return request(payment.key(effect))
        except GatewayUnavailable as unavailable:
            if not unavailable.is_saved:
                raise
            turn_key(payment)
    raise GatewayUnavailable("The payment provider keeps answering with stored errors.")


def turn_key(payment: Payment) -> None:
    Payment.objects.turn_key(payment.pk, payment.key_round)
    payment.refresh_from_db(fields=["key_round"])


def with_own_key(row: Keyed, request: Callable[[str], Answer], find: Callable[[], Answer | None]) -> Answer:
    """Send a request that the provider would happily do twice (refund, transfer, reversal).

    After a stored server error nobody knows whether it was done, so `find` looks it up in the provider's list by the
    id we wrote on it; only when it is not there is the next key tried.
    """
    for _ in range(KEY_ROUNDS):
        try:
            return request(row.key())
        except GatewayUnavailable as unavailable:
            if not unavailable.is_saved:
                raise
        done = find()
        if done is not None:
            return done
        row.key_round += 1
        row.save(update_fields=["key_round"])
    raise GatewayUnavailable("The payment provider keeps answering with stored errors.")
