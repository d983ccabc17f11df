"""Idempotency keys under which the provider stored a server error: it would repeat that error forever."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Protocol, TypeVar

from payments.errors import GatewayUnavailable
from payments.models import Payment

KEY_ROUNDS = 3
Answer = TypeVar("Answer")


class Keyed(Protocol):
    """A row with its own idempotency key: a refund, a payout, a reversal."""

    id: uuid.UUID
    key_round: int

    def key(self) -> str: ...

    def save(self, *, update_fields: list[str]) -> None: ...


def with_key(payment: Payment, effect: str, request: Callable[[str], Answer]) -> Answer:
    """Send a request about a payment's intent with the payment's idempotency key.

    If the provider stored a server error under the key, that key can never succeed, so the next one is used. That is
    safe for intents: an unconfirmed intent moves no money, and only the one whose id was committed is ever confirmed;
    the provider refuses to confirm, capture or cancel one intent twice.

    Raises GatewayUnavailable if the outcome is unknown, also after `KEY_ROUNDS` stored errors.
    """
    for _ in range(KEY_ROUNDS):
        try:
            return request(payment.key(effect))
        except GatewayUnavailable as unavailable:
            if not unavailable.is_saved:
                raise
            rotate_key(payment)
    raise GatewayUnavailable("The payment provider repeats stored errors.")


def rotate_key(payment: Payment) -> None:
    """Use the payment's next idempotency key from now on."""
    Payment.objects.rotate_key(payment.pk, payment.key_round)
    payment.refresh_from_db(fields=["key_round"])


def with_own_key(row: Keyed, request: Callable[[str], Answer], find: Callable[[], Answer | None]) -> Answer:
    """Send a request that the provider would do twice if it came with two keys (refund, transfer, reversal).

    After a stored server error it is unknown whether it was done. So `find` looks in the provider's list for the id
    that we sent with it, and only if it is not there the next key is tried.

    Raises GatewayUnavailable if the outcome is unknown, also after `KEY_ROUNDS` stored errors.
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
    raise GatewayUnavailable("The payment provider repeats stored errors.")
