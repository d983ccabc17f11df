"""One contract for every provider: the sandbox in this process, the sandbox over HTTP, and Stripe itself.

Everything goes through the official SDK. To run it against Stripe's test mode:

    STRIPE_CONTRACT_KEY=sk_test_… python3 manage.py test tests/payments/test_gateway_contract.py

and STRIPE_CONTRACT_ACCOUNT=acct_… (a connected test account) for the transfers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from payments.errors import (
    GatewayMisuse,
    GatewayStateConflict,
    InvalidPayment,
    PaymentDeclined,
    UnknownPaymentMethod,
)
from payments.gateways import open_client
from payments.gateways.base import Intent, IntentStatus
from payments.gateways.stripe_gateway import StripeGateway, transfer_group

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
STRIPE_KEY = os.environ.get("STRIPE_CONTRACT_KEY", "")
STRIPE_ACCOUNT = os.environ.get("STRIPE_CONTRACT_ACCOUNT", "")
PROVIDERS = ["sandbox", "server", *(["stripe"] if STRIPE_KEY else [])]


@pytest.fixture(scope="module")
def provider_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a sandbox provider in a process of its own."""
    ledger = tmp_path_factory.mktemp("provider") / "ledger.sqlite3"
    command = [sys.executable, "manage.py", "sandbox_provider", "--port=0", f"--ledger={ledger}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(params=PROVIDERS)
def gateway(request: pytest.FixtureRequest) -> StripeGateway:
    if request.param == "stripe":
        return StripeGateway(open_client(STRIPE_KEY))
    base = request.getfixturevalue("provider_process") if request.param == "server" else ""
    return StripeGateway(open_client("", base))


class Caller:
    """Sends one test's requests. Idempotency keys are new for each test and the same within it."""

    def __init__(self, gateway: StripeGateway) -> None:
        self.gateway = gateway
        self.order_id = str(uuid.uuid4())
        self.payment_id = str(uuid.uuid4())

    def create(self, method: str = "pm_card_visa", *, cents: int = 1299, key: str = "create") -> Intent:
        return self.gateway.create_intent(
            amount_cents=cents,
            currency="USD",
            payment_method_id=method,
            payment_id=self.payment_id,
            order_id=self.order_id,
            key=f"{self.payment_id}:{key}",
        )

    def authorize(self, method: str = "pm_card_visa", *, cents: int = 1299) -> Intent:
        created = self.create(method, cents=cents)
        return self.gateway.confirm_intent(created.id, key=f"{created.id}:confirm")

    def capture(self, *, cents: int = 1299, of: int = 1299) -> Intent:
        held = self.authorize(cents=of)
        return self.gateway.capture_intent(held.id, amount_cents=cents, key=f"{held.id}:capture")


@pytest.fixture
def caller(gateway: StripeGateway) -> Caller:
    return Caller(gateway)


def test_creating_moves_no_money(caller):
    intent = caller.create()
    assert (intent.status, intent.amount_cents, intent.received_cents) == (IntentStatus.REQUIRES_CONFIRMATION, 1299, 0)
    assert (intent.currency, intent.payment_id, intent.order_id) == ("USD", caller.payment_id, caller.order_id)


def test_the_same_key_is_the_same_intent_and_says_that_it_is_a_replay(caller):
    first, second = caller.create(), caller.create()
    assert first.id == second.id
    assert (first.is_replayed, second.is_replayed) == (False, True)


def test_a_request_that_was_not_valid_leaves_its_key_free(caller):
    with pytest.raises(InvalidPayment):
        caller.create(cents=0)
    assert caller.create().amount_cents == 1299


def test_a_key_that_comes_back_with_other_parameters_is_refused(caller):
    caller.create(cents=1299)
    with pytest.raises(GatewayMisuse):
        caller.create(cents=1300)


def test_confirming_holds_the_money_without_taking_it(caller):
    held = caller.authorize()
    assert (held.status, held.received_cents) == (IntentStatus.REQUIRES_CAPTURE, 0)
    assert held.charge_id
    assert held.capture_before is None or held.capture_before > datetime.now(UTC)


def test_confirming_twice_is_refused(caller):
    held = caller.authorize()
    with pytest.raises(GatewayStateConflict):
        caller.gateway.confirm_intent(held.id, key=f"{held.id}:another")


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
def test_a_decline_names_its_code_and_is_replayed(caller, method, code):
    for _ in range(2):
        with pytest.raises(PaymentDeclined) as declined:
            caller.authorize(method)
        assert declined.value.extra["decline_code"] == code


def test_a_declined_intent_waits_for_another_method_and_has_the_reason(caller):
    created = caller.create("pm_card_chargeDeclined")
    with pytest.raises(PaymentDeclined):
        caller.gateway.confirm_intent(created.id, key=f"{created.id}:confirm")
    read = caller.gateway.retrieve_intent(created.id)
    assert (read.status, read.decline_code) == (IntentStatus.REQUIRES_PAYMENT_METHOD, "generic_decline")


def test_a_card_may_require_authentication(caller):
    assert caller.authorize("pm_card_authenticationRequired").status == IntentStatus.REQUIRES_ACTION


@pytest.mark.parametrize("stage", ["created", "authorized"])
def test_cancelling_is_read_back_and_final(caller, stage):
    intent = caller.create() if stage == "created" else caller.authorize()
    caller.gateway.cancel_intent(intent.id, key=f"{intent.id}:cancel")
    assert caller.gateway.retrieve_intent(intent.id).status == IntentStatus.CANCELED
    for late in ("confirm", "capture", "cancel"):
        with pytest.raises(GatewayStateConflict):
            do(caller.gateway, late, intent.id)


def do(gateway: StripeGateway, action: str, intent_id: str) -> None:
    key = f"{intent_id}:{action}:late"
    if action == "confirm":
        gateway.confirm_intent(intent_id, key=key)
    elif action == "capture":
        gateway.capture_intent(intent_id, amount_cents=1299, key=key)
    else:
        gateway.cancel_intent(intent_id, key=key)


@pytest.mark.parametrize("cents", [1299, 900])
def test_capturing_takes_all_or_part(caller, cents):
    taken = caller.capture(cents=cents)
    assert (taken.status, taken.received_cents) == (IntentStatus.SUCCEEDED, cents)


def test_more_than_was_held_is_not_captured(caller):
    with pytest.raises(GatewayStateConflict):
        caller.capture(cents=1300)


def test_captured_money_can_neither_be_captured_again_nor_cancelled(caller):
    taken = caller.capture()
    for action in ("capture", "cancel"):
        with pytest.raises(GatewayStateConflict):
            do(caller.gateway, action, taken.id)


def test_refunds_add_up_to_what_was_captured_and_no_further(caller):
    taken = caller.capture()
    refund = caller.gateway.refund_intent
    first = refund(taken.id, amount_cents=300, refund_id="a", key=f"{taken.id}:a")
    assert (first.amount_cents, first.refund_id) == (300, "a")
    with pytest.raises(GatewayStateConflict):
        refund(taken.id, amount_cents=1000, refund_id="b", key=f"{taken.id}:b")
    refund(taken.id, amount_cents=999, refund_id="c", key=f"{taken.id}:c")
    with pytest.raises(GatewayStateConflict):
        refund(taken.id, amount_cents=1, refund_id="d", key=f"{taken.id}:d")
    assert caller.gateway.retrieve_intent(taken.id).refunded_cents == 1299
    assert {(given.refund_id, given.amount_cents) for given in caller.gateway.list_refunds(taken.id)} == {
        ("a", 300),
        ("c", 999),
    }


def test_a_refund_repeated_with_its_key_is_one_refund(caller):
    taken = caller.capture()
    ask = {"amount_cents": 300, "refund_id": "a", "key": f"{taken.id}:a"}
    assert caller.gateway.refund_intent(taken.id, **ask).id == caller.gateway.refund_intent(taken.id, **ask).id
    assert caller.gateway.retrieve_intent(taken.id).refunded_cents == 300


def test_an_unknown_method_is_refused_before_anything_exists(caller):
    with pytest.raises(UnknownPaymentMethod):
        caller.create("pm_nobody_has_this")


@pytest.mark.parametrize("cents", [0, -5])
def test_an_invalid_amount_is_refused(caller, cents):
    with pytest.raises(InvalidPayment):
        caller.create(cents=cents)


def test_an_unknown_intent_is_an_error_and_no_unknown_outcome(caller):
    with pytest.raises(GatewayMisuse):
        caller.gateway.retrieve_intent("pi_0000000000000000")


def test_recent_intents_are_listed(caller):
    wanted = caller.create()
    since = datetime.now(UTC) - timedelta(minutes=1)
    assert wanted.id in {listed.id for listed in caller.gateway.list_intents(created_after=since)}


def test_transfers_are_made_once_found_by_group_and_reversed(caller, request):
    is_stripe = request.node.callspec.params["gateway"] == "stripe"
    if is_stripe and not STRIPE_ACCOUNT:
        pytest.skip("set STRIPE_CONTRACT_ACCOUNT to a connected test account")
    taken = caller.capture()
    group = transfer_group(caller.order_id)
    ask = {
        "amount_cents": 1000,
        "currency": "USD",
        "destination": STRIPE_ACCOUNT or "acct_diner",
        "group": group,
        "charge_id": taken.charge_id,
        "payout_id": "p1",
        "key": f"{taken.id}:p1",
    }
    sent = caller.gateway.transfer(**ask)
    assert caller.gateway.transfer(**ask).id == sent.id
    done = caller.gateway.reverse_transfer(sent.id, amount_cents=400, reversal_id="r1", key=f"{taken.id}:r1")
    (listed,) = caller.gateway.list_transfers(group=group)
    assert (listed.amount_cents, listed.reversed_cents, listed.payout_id) == (1000, 400, "p1")
    assert [(one.id, one.reversal_id) for one in caller.gateway.list_reversals(sent.id)] == [(done.id, "r1")]
    with pytest.raises(GatewayStateConflict):
        caller.gateway.reverse_transfer(sent.id, amount_cents=601, reversal_id="r2", key=f"{taken.id}:r2")


def test_more_than_was_captured_is_not_transferred(caller, request):
    if request.node.callspec.params["gateway"] == "stripe" and not STRIPE_ACCOUNT:
        pytest.skip("set STRIPE_CONTRACT_ACCOUNT to a connected test account")
    taken = caller.capture()
    with pytest.raises(GatewayStateConflict):
        caller.gateway.transfer(
            amount_cents=1300,
            currency="USD",
            destination=STRIPE_ACCOUNT or "acct_diner",
            group=transfer_group(caller.order_id),
            charge_id=taken.charge_id,
            payout_id="p1",
            key=f"{taken.id}:p1",
        )
