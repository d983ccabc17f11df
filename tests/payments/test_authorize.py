"""Authorizing a payment: declines, lost replies, stored errors and wrong answers."""

from __future__ import annotations

import uuid

import pytest
from django.db import transaction

from payments.errors import (
    AuthenticationRequired,
    GatewayUnavailable,
    NotAuthorized,
    PaymentDeclined,
    PaymentTermsDiffer,
    UnknownPaymentMethod,
)
from payments.gateways import use_gateway
from payments.models import EscrowTransaction, PaymentStatus, TransactionStatus
from payments.sandbox.models import SandboxIntent
from payments.steps import cancel_escrow, get_payment_info, hold_escrow
from sagas.errors import Refusal
from tests.payments.builders import Case, Crash, Dying, order_fault

pytestmark = pytest.mark.django_db(transaction=True)

OPERATIONS = ["create_intent", "confirm_intent"]


def authorize_until_answered(case: Case, *, attempts: int = 4) -> int:
    """Run the step as the engine does. Returns the number of attempts it took."""
    for attempt in range(1, attempts + 1):
        try:
            case.authorize()
        except GatewayUnavailable:
            continue
        return attempt
    raise AssertionError("The provider never answered.")


def test_a_good_card_is_held_for_the_total_and_not_captured():
    case = Case(total_cents=1299)
    case.authorize()
    payment = case.row
    (intent,) = case.provider_intents
    assert (payment.status, payment.authorized_cents, payment.captured_cents) == (PaymentStatus.AUTHORIZED, 1299, 0)
    assert (intent.status, intent.amount, intent.amount_received) == ("requires_capture", 1299, 0)
    assert payment.capture_before is not None


def test_authorizing_twice_is_one_authorization():
    case = Case()
    assert case.authorize() == case.authorize()
    assert case.authorizations_ever == 1


@pytest.mark.parametrize(
    ("token", "decline_code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
def test_a_declined_card_is_a_refusal_that_stays(token, decline_code):
    case = Case(payment_method_id=token)
    for _ in range(2):
        with pytest.raises(PaymentDeclined) as refused:
            case.authorize()
        assert refused.value.extra["decline_code"] == decline_code
    assert (case.row.status, case.row.decline_code) == (PaymentStatus.DECLINED, decline_code)
    case.revert()
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.DECLINED, 0)


def test_a_card_that_requires_authentication_is_refused_and_its_intent_cancelled():
    case = Case(payment_method_id="pm_card_authenticationRequired")
    for _ in range(2):
        with pytest.raises(AuthenticationRequired):
            case.authorize()
    (intent,) = case.provider_intents
    assert intent.status == "canceled"
    case.revert()
    assert case.live_authorizations == 0


def test_an_unknown_token_is_refused_by_the_provider():
    case = Case(payment_method_id="pm_nobody")
    for _ in range(2):
        with pytest.raises(UnknownPaymentMethod):
            case.authorize()
    case.revert()
    assert case.provider_intents == []


def test_a_request_that_never_arrived_works_when_repeated():
    case = Case(payment_method_id="pm_sandbox_timeout_before")
    assert authorize_until_answered(case) == 3
    assert (case.live_authorizations, len(case.provider_intents)) == (1, 1)


def test_a_lost_reply_is_replayed_and_not_done_twice():
    case = Case(payment_method_id="pm_sandbox_timeout_after")
    with pytest.raises(GatewayUnavailable):
        case.authorize()
    assert len(case.provider_intents) == 1
    with pytest.raises(GatewayUnavailable):
        case.authorize()
    assert case.live_authorizations == 1
    case.authorize()
    assert (case.row.status, case.authorizations_ever, len(case.provider_intents)) == (PaymentStatus.AUTHORIZED, 1, 1)


@pytest.mark.parametrize("token", ["pm_sandbox_timeout_before", "pm_sandbox_timeout_after"])
def test_the_undo_gets_through_lost_replies_too(token):
    case = Case(payment_method_id=token)
    with pytest.raises(GatewayUnavailable):
        case.authorize()
    for _ in range(4):
        try:
            case.revert()
        except GatewayUnavailable:
            continue
        break
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.VOIDED, 0)


def test_a_slow_provider_is_waited_for(settings):
    settings.SANDBOX_SLOW_SECONDS = 0.05
    case = Case(payment_method_id="pm_sandbox_slow")
    case.authorize()
    assert case.live_authorizations == 1


def test_a_provider_slower_than_the_step_is_an_unknown_outcome(settings):
    settings.SANDBOX_SLOW_SECONDS = 10
    case = Case(payment_method_id="pm_sandbox_slow")
    with pytest.raises(GatewayUnavailable):
        case.authorize(timeout=0.05)
    assert case.row.status == PaymentStatus.PENDING


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "kind",
    ["timeout_before", "timeout_after", "rate_limited", "conflict", "error_500", "garbage", "wrong_amount"],
)
def test_a_fault_of_the_provider_is_an_unknown_outcome_and_never_a_refusal(operation, kind):
    case = Case()
    order_fault(kind, operation)
    with pytest.raises(GatewayUnavailable) as unknown:
        case.authorize()
    assert not isinstance(unknown.value, Refusal)
    case.authorize()
    assert (case.live_authorizations, case.authorizations_ever) == (1, 1)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", ["saved_500", "saved_500_after"])
def test_a_stored_server_error_does_not_answer_forever(operation, kind):
    case = Case()
    order_fault(kind, operation)
    assert authorize_until_answered(case) == 2
    assert (case.live_authorizations, case.authorizations_ever) == (1, 1)


@pytest.mark.parametrize("operation", [*OPERATIONS, ""])
@pytest.mark.parametrize("kind", ["saved_500", "saved_500_after", "timeout_after", "garbage"])
def test_a_provider_that_stays_broken_leaves_no_hold_once_it_recovers(operation, kind):
    case = Case()
    fault = order_fault(kind, operation, times=None)
    for _ in range(4):
        with pytest.raises(GatewayUnavailable):
            case.authorize()
    fault.delete()
    case.revert()
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.VOIDED, 0)
    assert case.authorizations_ever <= 1


def test_an_authorization_that_died_before_its_refusal_is_void_without_an_intent():
    case = Case(payment_method_id="pm_nobody_knows")
    with use_gateway(Dying(at_call=1, after_effect=False)), pytest.raises(Crash):
        case.authorize()
    case.revert()
    assert (case.row.status, case.provider_intents) == (PaymentStatus.VOIDED, [])


def test_the_undo_asks_for_the_intent_with_the_key_it_was_created_with():
    case = Case()
    with use_gateway(Dying(at_call=1, after_effect=True)), pytest.raises(Crash):
        case.authorize()
    case.revert()
    assert [intent.status for intent in case.provider_intents] == ["canceled"]


def test_the_undo_of_a_payment_that_never_began_keeps_its_reason_and_key():
    case = Case()
    case.revert()
    assert (case.row.status, case.row.reason) == (PaymentStatus.VOIDED, "Order timed out (30 minutes)")
    assert case.row.idempotency_key == f"saga:{case.payment_id}:revert_payment"


def test_the_same_payment_with_other_terms_is_refused():
    case = Case()
    case.authorize()
    case.total_cents += 1
    with pytest.raises(PaymentTermsDiffer):
        case.authorize()


def test_a_second_payment_for_the_same_order_is_refused():
    case = Case()
    case.authorize()
    second = Case(order_id=case.order_id)
    with pytest.raises(PaymentTermsDiffer):
        second.authorize()
    assert case.live_authorizations == 1


def test_the_provider_is_never_asked_inside_a_transaction():
    case = Case()
    with pytest.raises(RuntimeError, match="transaction"), transaction.atomic():
        case.authorize()
    assert SandboxIntent.objects.count() == 0


def test_an_escrow_is_held_over_an_authorized_payment_and_given_up():
    case = Case(total_cents=1500)
    case.authorize()
    held = hold_escrow(
        payment_id=case.payment_id,
        order_id=case.order_id,
        owner="alice",
        food_cents=1200,
        delivery_fee_cents=300,
        currency="USD",
    )
    escrow = EscrowTransaction.objects.get(pk=held["escrow_id"])
    assert (escrow.amount_cents, escrow.status) == (1500, TransactionStatus.HELD)
    cancel_escrow(order_id=case.order_id, reason="cancelled")
    cancel_escrow(order_id=case.order_id, reason="again")
    escrow.refresh_from_db()
    assert (escrow.status, escrow.reason) == (TransactionStatus.CANCELLED, "cancelled")


def test_an_escrow_needs_an_authorized_payment():
    with pytest.raises(NotAuthorized):
        hold_escrow(
            payment_id=str(uuid.uuid4()),
            order_id=str(uuid.uuid4()),
            owner="alice",
            food_cents=1,
            delivery_fee_cents=0,
            currency="USD",
        )


def test_cancelling_an_escrow_that_was_never_held_is_done_already():
    cancel_escrow(order_id=str(uuid.uuid4()), reason="nothing to do")


def test_a_customer_without_a_stored_method_pays_with_the_sandbox_card():
    assert get_payment_info(owner="nobody", payment_method="") == {
        "payment_method_id": "pm_card_visa",
        "brand": "visa",
        "last4": "4242",
    }


def test_a_provider_that_returns_another_amount_is_an_unknown_outcome():
    case = Case()
    fault = order_fault("wrong_amount", times=None)
    for _ in range(2):
        with pytest.raises(GatewayUnavailable):
            case.authorize()
    assert case.row.status == PaymentStatus.PENDING
    fault.delete()
    case.revert()
    assert case.live_authorizations == 0
