"""Thousands of orders over a network that loses, delays and repeats requests, checked with the provider's ledger.

    python benchmarks/late_effects.py --orders 5000 --seed 1

A request may be lost before or after its effect, arrive late (even after the undo), or get a stored error 500. The
process may die between two requests. Each webhook comes twice. At the end no hold may be left without an authorized
payment, no order may have been authorized twice, and both ledgers must agree to the cent. Uses a temporary SQLite file
if DATABASE_URL is not set.
"""

# ruff: noqa: E402 - Django must be set up before the product is imported

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
SCRATCH = tempfile.TemporaryDirectory(prefix="late-effects-")
os.environ.setdefault("DATABASE_URL", f"sqlite:///{SCRATCH.name}/late_effects.sqlite3")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")
os.environ.setdefault("CAMPUSG_LOG_LEVEL", "CRITICAL")

import django

django.setup()

import stripe
from django.conf import settings
from django.core.management import call_command
from django.db.models import Sum

from payments import ledger, reconcile, steps, webhooks
from payments.errors import GatewayStateConflict, GatewayUnavailable, PayoutInProgress
from payments.flows import capture, payout, refund
from payments.gateways import SANDBOX_API_KEY, open_client, use_gateway
from payments.gateways.stripe_gateway import StripeGateway
from payments.models import Payment, PaymentStatus
from payments.sandbox.client import FakeStripe
from payments.sandbox.models import FaultKind, SandboxIntent, SandboxTransfer
from payments.sandbox.wire import Request
from sagas.errors import Refusal

SECRET = "whsec_late_effects"
FAULT_PERCENT = 30  # of all requests
ATTEMPTS_WITH_FAULTS = 6
ATTEMPTS_WITHOUT_FAULTS = 6
LATEST_ARRIVAL = 25  # after this many other requests
CARDS = ["pm_card_visa"] * 8 + ["pm_card_chargeDeclined", "pm_card_authenticationRequired"]
FAULTS = [
    *(FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER, FaultKind.TIMEOUT_AFTER, "late", "late", "crash_before"),
    *("crash_after", FaultKind.SAVED_500, FaultKind.SAVED_500_AFTER, FaultKind.RATE_LIMITED, FaultKind.GARBAGE),
]


class Crash(BaseException):
    """The worker was killed."""


class LateNetwork(FakeStripe):
    """The network between the SDK and the provider. Some requests arrive after the client gave up."""

    def __init__(self, source: random.Random) -> None:
        super().__init__(chaos=self._fault_at_provider)
        self.source = source
        self.has_faults = True
        self.counts: Counter[str] = Counter()
        self.clock = 0
        self._kind = ""
        self._late: list[tuple[int, tuple[Any, ...]]] = []

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        self.clock += 1
        self.deliver_late(until=self.clock)
        self._kind = self._draw(method)
        self.counts[self._kind or "none"] += 1
        if self._kind == "crash_before":
            raise Crash
        if self._kind == "late":
            due = self.clock + self.source.randrange(1, LATEST_ARRIVAL)
            self._late.append((due, (method, url, headers, post_data)))
            raise stripe.APIConnectionError("No reply.")
        answer = super().request(method, url, headers, post_data)
        if self._kind == "crash_after":
            raise Crash
        return answer

    def deliver_late(self, *, until: int | None = None) -> None:
        """Deliver the late requests that are due. No client waits for these answers any more."""
        due = [arrival for arrival in self._late if until is None or arrival[0] <= until]
        self._late = [arrival for arrival in self._late if arrival not in due]
        for _, (method, url, headers, post_data) in due:
            self._kind = ""
            super().request(method, url, headers, post_data)

    def _draw(self, method: str) -> str:
        if not self.has_faults or self.source.randrange(100) >= FAULT_PERCENT:
            return ""
        kind = str(self.source.choice(FAULTS))
        is_read = method.upper() == "GET"
        return FaultKind.TIMEOUT_AFTER.value if is_read and kind.startswith(("saved", "late")) else kind

    def _fault_at_provider(self, _operation: str, _request: Request) -> str:
        return self._kind if self._kind in FaultKind.values else ""


@dataclass
class Order:
    """One order, and what shall happen to its money."""

    source: random.Random
    network: LateNetwork
    payment_id: str = field(init=False)
    order_id: str = field(init=False)
    total: int = field(init=False)

    def __post_init__(self) -> None:
        self.payment_id, self.order_id = (str(uuid.UUID(int=self.source.getrandbits(128), version=4)) for _ in "po")
        self.total = self.source.randrange(100, 10_000)
        self.card = self.source.choice(CARDS)
        self.goal = self.source.choice(["hold", "undo", "undo", "capture", "payout", "refund", "undo_captured"])

    def run(self) -> None:
        """Act as the engine does: go forward, and go back after a refusal or when no attempt is left."""
        outcome = self._attempt(self._authorize)
        if outcome != "done" or self.goal == "undo":
            self._insist(self._revert)
            return
        steps.hold_escrow(
            payment_id=self.payment_id,
            order_id=self.order_id,
            owner="alice",
            food_cents=self.total - self.total // 5,
            delivery_fee_cents=self.total // 5,
            currency="USD",
        )
        if self.goal == "hold":
            return
        if self._attempt(lambda: capture.capture(self.payment)) != "done":
            self._insist(self._revert)
            return
        self._after_capture()

    def _after_capture(self) -> None:
        if self.goal in ("payout", "refund"):
            recipients = payout.Recipients(restaurant="acct_diner", runner="acct_rosa", platform_fee_basis_points=700)
            self._insist(lambda: payout.release_escrow(self.order_id, recipients))
        if self.goal == "refund":
            part = self.source.randrange(1, self.total)
            self._insist(lambda: refund.refund(self.payment, amount_cents=part, key="part", reason="cold"))
        if self.goal == "undo_captured":
            self._insist(self._revert)

    def _authorize(self) -> None:
        steps.authorize_payment(
            payment_id=self.payment_id,
            order_id=self.order_id,
            owner="alice",
            total_cents=self.total,
            currency="USD",
            payment_method_id=self.card,
            idempotency_key=f"saga:{self.payment_id}:authorize_payment",
            timeout=30,
        )

    def _revert(self) -> None:
        steps.revert_payment(
            payment_id=self.payment_id, order_id=self.order_id, reason="cancelled", idempotency_key="-", timeout=30
        )

    @property
    def payment(self) -> Payment:
        return Payment.objects.get(pk=self.payment_id)

    def _attempt(self, action: Callable[[], object], attempts: int = ATTEMPTS_WITH_FAULTS) -> str:
        for _ in range(attempts):
            self._webhook()
            try:
                action()
            except (GatewayUnavailable, GatewayStateConflict, PayoutInProgress, Crash):
                continue
            except Refusal:
                return "refused"
            return "done"
        return "unknown"

    def _insist(self, action: Callable[[], object]) -> None:
        """Repeat an undo or a payout until it is done. The last attempts are made without faults."""
        if self._attempt(action) == "done":
            return
        self.network.has_faults = False
        try:
            if self._attempt(action, ATTEMPTS_WITHOUT_FAULTS) == "unknown":
                raise AssertionError(f"{self.payment_id} has no known outcome")
        finally:
            self.network.has_faults = True

    def _webhook(self) -> None:
        """The provider sends an event about one of this order's intents, twice."""
        intent = SandboxIntent.objects.filter(metadata__order_id=self.order_id).order_by("id").first()
        if intent is None or self.source.randrange(3):
            return
        body = (
            f'{{"id": "evt_{self.source.getrandbits(64):x}", "type": "payment_intent.{intent.status}",'
            f' "data": {{"object": {{"object": "payment_intent", "id": "{intent.id}"}}}}}}'
        )
        signature = stripe.WebhookSignature.generate_signature_header(body, SECRET)
        for _ in range(2):
            try:
                webhooks.receive(body.encode(), signature)
            except (GatewayUnavailable, GatewayStateConflict, Crash):
                continue
            self.network.counts["webhook"] += 1


def judge() -> dict[str, int]:
    """Compare the provider's ledger with ours. Every count must be zero."""
    verdict: Counter[str] = Counter(leaked_holds=0)
    payments = {payment.intent_id: payment for payment in Payment.objects.exclude(intent_id="")}
    authorizations: Counter[str] = Counter()
    for intent in SandboxIntent.objects.iterator():
        payment = payments.get(intent.id)
        is_live = intent.status == "requires_capture"
        if is_live and (payment is None or payment.status != PaymentStatus.AUTHORIZED):
            verdict["leaked_holds"] += 1
        authorizations[intent.metadata["order_id"]] += intent.authorizations
        ours = (payment.captured_cents, payment.refunded_cents) if payment else (0, 0)
        verdict["cents_apart"] += abs(intent.amount_received - ours[0]) + abs(intent.amount_refunded - ours[1])
    verdict["double_authorizations"] = sum(count > 1 for count in authorizations.values())
    authorized = Payment.objects.filter(status=PaymentStatus.AUTHORIZED).values_list("intent_id", flat=True)
    alive = set(SandboxIntent.objects.filter(status="requires_capture").values_list("id", flat=True))
    verdict["payments_without_their_hold"] = len(set(authorized) - alive)
    verdict["payments_without_an_end"] = Payment.objects.filter(
        status__in=(PaymentStatus.PENDING, PaymentStatus.VOIDING, PaymentStatus.CAPTURING)
    ).count()
    verdict["ledger_cents_apart"] = _ledger_apart()
    return dict(verdict)


def _ledger_apart() -> int:
    balances = ledger.balances()
    provider = SandboxIntent.objects.aggregate(
        taken=Sum("amount_received", default=0), returned=Sum("amount_refunded", default=0)
    )
    sent = SandboxTransfer.objects.aggregate(sent=Sum("amount", default=0), back=Sum("amount_reversed", default=0))
    paid = sum(cents for account, cents in balances.items() if account.startswith(("restaurant:", "runner:")))
    return (
        abs(sum(balances.values()))
        + abs(balances.get("customer:alice:USD", 0) + provider["taken"] - provider["returned"])
        + abs(paid - (sent["sent"] - sent["back"]))
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    call_command("migrate", verbosity=0, interactive=False)
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
    source = random.Random(options.seed)
    network = LateNetwork(source)
    gateway = StripeGateway(open_client(SANDBOX_API_KEY, http_client=network))
    started = time.monotonic()
    with use_gateway(gateway):
        for _ in range(options.orders):
            Order(source, network).run()
        network.has_faults = False
        network.deliver_late()
        verdict = judge()
        drifts = Counter(finding.drift.value for finding in reconcile.reconcile(grace=reconcile.timedelta(0)))
    print(f"orders {options.orders}, seed {options.seed}, {time.monotonic() - started:.0f} s, {network.clock} requests")
    print("network:", dict(sorted(network.counts.items())))
    print("payments:", dict(Counter(Payment.objects.values_list("status", flat=True))))
    print("verdict:", verdict)
    print("reconcile:", dict(drifts))
    return 1 if any(verdict.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
