"""What tests of payments need: one order's payment, the provider's view of it, and faults."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from payments import steps
from payments.flows import capture as captures
from payments.flows import payout
from payments.flows import refund as refunds
from payments.gateways import current_gateway, use_gateway
from payments.models import EscrowTransaction, Payment, Refund
from payments.sandbox.models import SandboxFault, SandboxIntent, SandboxTransfer

LIVE = ("requires_capture",)


@dataclass
class Case:
    """One order's payment. Each call passes the same arguments, as a saga does when it runs a step again."""

    payment_method_id: str = "pm_card_visa"
    total_cents: int = 1299
    owner: str = "alice"
    payment_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    order_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def authorize(self, *, timeout: float = 5.0) -> steps.Authorization:
        return steps.authorize_payment(
            payment_id=self.payment_id,
            order_id=self.order_id,
            owner=self.owner,
            total_cents=self.total_cents,
            currency="USD",
            payment_method_id=self.payment_method_id,
            idempotency_key=f"saga:{self.payment_id}:authorize_payment",
            timeout=timeout,
        )

    def revert(self, *, timeout: float = 5.0) -> None:
        steps.revert_payment(
            payment_id=self.payment_id,
            order_id=self.order_id,
            reason="Order timed out (30 minutes)",
            idempotency_key=f"saga:{self.payment_id}:revert_payment",
            timeout=timeout,
        )

    def hold(self, *, delivery_fee_cents: int = 0) -> None:
        steps.hold_escrow(
            payment_id=self.payment_id,
            order_id=self.order_id,
            owner=self.owner,
            food_cents=self.total_cents - delivery_fee_cents,
            delivery_fee_cents=delivery_fee_cents,
            currency="USD",
        )

    def capture(self, cents: int | None = None) -> Payment:
        return captures.capture(self.row, cents)

    def refund(self, cents: int, key: str = "first") -> Refund:
        return refunds.refund(self.row, amount_cents=cents, key=key, reason="cold food")

    def release(self, *, fee_basis_points: int = 0) -> EscrowTransaction:
        recipients = payout.Recipients(
            restaurant="acct_diner", runner="acct_rosa", platform_fee_basis_points=fee_basis_points
        )
        return payout.release_escrow(self.order_id, recipients)

    @property
    def provider_refunded_cents(self) -> int:
        return sum(intent.amount_refunded for intent in self.provider_intents)

    @property
    def provider_transfers(self) -> dict[str, int]:
        """Cents that each account at the provider has received, without reversals."""
        found = SandboxTransfer.objects.filter(transfer_group=f"order_{self.order_id}")
        received: dict[str, int] = {}
        for transfer in found:
            kept = transfer.amount - transfer.amount_reversed
            received[transfer.destination] = received.get(transfer.destination, 0) + kept
        return received

    @property
    def row(self) -> Payment:
        return Payment.objects.get(pk=self.payment_id)

    @property
    def provider_intents(self) -> list[SandboxIntent]:
        return [intent for intent in SandboxIntent.objects.all() if intent.metadata["order_id"] == self.order_id]

    @property
    def live_authorizations(self) -> int:
        return sum(intent.status in LIVE for intent in self.provider_intents)

    @property
    def authorizations_ever(self) -> int:
        return sum(intent.authorizations for intent in self.provider_intents)


def order_fault(kind: str, operation: str = "", *, times: int | None = 1, **more: Any) -> SandboxFault:
    return SandboxFault.objects.create(kind=kind, operation=operation, times_left=times, **more)


class Crash(BaseException):
    """The process crashed: nothing after this runs, and nothing can catch it."""


class Dying:
    """A gateway whose process crashes before or after its n-th call to the provider. 0: it never crashes."""

    def __init__(self, *, at_call: int, after_effect: bool) -> None:
        self._gateway = current_gateway()
        self._at_call = at_call
        self._after_effect = after_effect
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._gateway, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self._at_call and not self._after_effect:
                raise Crash(f"before {name}")
            answer = method(*args, **kwargs)
            if self.calls == self._at_call:
                raise Crash(f"after {name}")
            return answer

        return call


class Watching:
    """A gateway that runs something before or after a call, as a second worker could."""

    def __init__(self, operation: str, interruption: Any, *, before: bool = True) -> None:
        self._gateway = current_gateway()
        self._operation = operation
        self._interruption = interruption
        self._before = before
        self._is_done = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._gateway, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            is_now = name == self._operation and not self._is_done
            self._is_done = self._is_done or is_now
            if is_now and self._before:
                self._interrupt()
            answer = method(*args, **kwargs)
            if is_now and not self._before:
                self._interrupt()
            return answer

        return call

    def _interrupt(self) -> None:
        with use_gateway(self._gateway):
            self._interruption()
