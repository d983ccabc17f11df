"""Money is captured once and refunded at most once, whatever requests or replies are lost."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from django.utils import timezone

from payments import ledger
from payments.errors import CannotCapture, CannotRefund, GatewayUnavailable
from payments.flows import refund as refunds
from payments.gateways import use_gateway
from payments.models import PaymentStatus, Refund, RefundStatus
from payments.sandbox.models import SandboxIntent
from tests.payments.builders import Case, Crash, Dying, Watching, order_fault

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN_OUTCOMES = ["timeout_before", "timeout_after", "error_500", "saved_500", "saved_500_after", "garbage"]


@pytest.fixture
def case() -> Case:
    case = Case(total_cents=1500)
    case.authorize()
    return case


def until_answered(action, *, attempts: int = 4):
    for _ in range(attempts):
        try:
            return action()
        except GatewayUnavailable:
            continue
    raise AssertionError("The provider never answered.")


def test_a_capture_takes_the_whole_amount(case):
    case.capture()
    assert (case.row.status, case.row.captured_cents) == (PaymentStatus.CAPTURED, 1500)
    assert case.provider_intents[0].amount_received == 1500
    assert ledger.position(case.order_id) == ledger.Position(captured=1500, released=0, returned=0)


def test_a_partial_capture_releases_the_rest(case):
    case.capture(900)
    (intent,) = case.provider_intents
    assert (intent.amount_received, intent.amount_capturable) == (900, 0)
    assert case.row.captured_cents == 900


def test_asking_again_for_the_same_capture_changes_nothing(case):
    case.capture(900)
    assert case.capture(900).captured_cents == 900
    assert ledger.position(case.order_id).captured == 900


@pytest.mark.parametrize("cents", [901, 1500, None])
def test_a_second_capture_of_another_amount_is_refused(case, cents):
    case.capture(900)
    with pytest.raises(CannotCapture):
        case.capture(cents)


@pytest.mark.parametrize("cents", [1501, 10**12])
def test_more_than_was_authorized_is_never_captured(case, cents):
    with pytest.raises(CannotCapture):
        case.capture(cents)
    assert case.row.status == PaymentStatus.AUTHORIZED


def test_a_reverted_payment_cannot_be_captured(case):
    case.revert()
    with pytest.raises(CannotCapture):
        case.capture()


def test_an_authorization_that_lapsed_cannot_be_captured(case):
    SandboxIntent.objects.update(capture_before=timezone.now() - timedelta(seconds=1))
    for _ in range(2):
        with pytest.raises(CannotCapture):
            case.capture()
    assert case.row.status == PaymentStatus.EXPIRED
    case.revert()
    assert case.live_authorizations == 0


@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES)
def test_a_capture_with_an_unknown_outcome_is_repeated_until_known(case, kind):
    order_fault(kind, "capture_intent")
    until_answered(case.capture)
    assert (case.row.captured_cents, case.provider_intents[0].amount_received) == (1500, 1500)


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_capture_that_died_is_finished_by_the_next_run(case, after_effect):
    with use_gateway(Dying(at_call=1, after_effect=after_effect)), pytest.raises(Crash):
        case.capture()
    assert case.row.status == PaymentStatus.CAPTURING
    case.capture()
    assert case.row.status == PaymentStatus.CAPTURED


@pytest.mark.parametrize("after_effect", [False, True])
def test_an_undo_after_a_dead_capture_leaves_the_customer_nothing_to_pay(case, after_effect):
    with use_gateway(Dying(at_call=1, after_effect=after_effect)), pytest.raises(Crash):
        case.capture()
    case.revert()
    assert case.live_authorizations == 0
    assert case.provider_refunded_cents == case.provider_intents[0].amount_received
    assert case.row.status in (PaymentStatus.VOIDED, PaymentStatus.REFUNDED)


@pytest.mark.parametrize("before", [True, False])
def test_an_undo_in_the_middle_of_a_capture_ends_with_nothing_taken(case, before):
    with use_gateway(Watching("capture_intent", case.revert, before=before)), contextlib.suppress(CannotCapture):
        case.capture()
    case.revert()
    assert case.live_authorizations == 0
    assert case.provider_refunded_cents == case.provider_intents[0].amount_received
    assert ledger.position(case.order_id).held == 0


def test_undoing_a_captured_payment_refunds_it(case):
    case.capture()
    case.revert()
    case.revert()
    assert (case.row.status, case.row.refunded_cents, case.provider_refunded_cents) == (
        PaymentStatus.REFUNDED,
        1500,
        1500,
    )


def test_partial_refunds_add_up_and_never_exceed_what_was_captured(case):
    case.capture(1000)
    case.refund(300, "a")
    case.refund(600, "b")
    with pytest.raises(CannotRefund):
        case.refund(101, "c")
    case.refund(100, "d")
    assert (case.row.status, case.row.refunded_cents, case.provider_refunded_cents) == (
        PaymentStatus.REFUNDED,
        1000,
        1000,
    )
    assert ledger.position(case.order_id) == ledger.Position(captured=1000, released=0, returned=1000)


def test_the_same_refund_twice_is_one_refund(case):
    case.capture()
    assert case.refund(400, "same").pk == case.refund(400, "same").pk
    assert case.provider_refunded_cents == 400
    with pytest.raises(CannotRefund):
        case.refund(500, "same")


@pytest.mark.parametrize("cents", [0, -1])
def test_zero_and_negative_amounts_cannot_be_refunded(case, cents):
    case.capture()
    with pytest.raises(CannotRefund):
        case.refund(cents)


def test_an_authorization_cannot_be_refunded(case):
    with pytest.raises(CannotRefund):
        case.refund(100)


@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES)
def test_a_refund_with_an_unknown_outcome_is_given_once(case, kind):
    case.capture()
    order_fault(kind, "create_refund")
    until_answered(lambda: case.refund(400))
    assert (case.row.refunded_cents, case.provider_refunded_cents) == (400, 400)


@pytest.mark.parametrize("kind", ["saved_500", "saved_500_after"])
def test_a_refund_that_is_stored_as_an_error_again_and_again_is_given_once(case, kind):
    case.capture()
    order_fault(kind, "create_refund", times=2)
    until_answered(lambda: case.refund(400))
    assert (case.row.refunded_cents, case.provider_refunded_cents) == (400, 400)


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_refund_that_died_is_finished_by_the_undo(case, after_effect):
    case.capture()
    with use_gateway(Dying(at_call=1, after_effect=after_effect)), pytest.raises(Crash):
        case.refund(400)
    case.revert()
    assert (case.row.refunded_cents, case.provider_refunded_cents) == (1500, 1500)


def test_a_refund_the_provider_refuses_gives_its_claim_back(case):
    case.capture()
    SandboxIntent.objects.update(amount_refunded=1500)  # somebody refunded it by hand at the provider
    for _ in range(2):
        with pytest.raises(CannotRefund):
            case.refund(400)
    assert Refund.objects.get().status == RefundStatus.FAILED
    assert case.row.refund_claimed_cents == 0


def test_a_refund_refused_to_two_workers_gives_its_claim_back_once(case):
    case.capture()
    case.refund(300, "given")
    with use_gateway(Dying(at_call=1, after_effect=False)), pytest.raises(Crash):
        case.refund(400, "refused")
    SandboxIntent.objects.update(amount_refunded=1500)  # somebody refunded it by hand at the provider
    pending = Refund.objects.get(status=RefundStatus.PENDING)
    for _ in range(2):
        with pytest.raises(CannotRefund):
            refunds.send_refund(pending, case.row)
    assert case.row.refund_claimed_cents == 300


def test_a_refusal_says_how_much_is_left(case):
    with pytest.raises(CannotRefund, match="The payment is AUTHORIZED: nothing was captured"):
        case.refund(100)
    case.capture(1000)
    case.refund(300, "a")
    with pytest.raises(CannotRefund, match="Only 700 of 1000 cents are left to refund"):
        case.refund(701, "b")


def test_a_single_cent_can_be_refunded(case):
    case.capture()
    case.refund(1)
    assert case.provider_refunded_cents == 1


def test_a_refund_that_two_workers_send_is_counted_once(case):
    case.capture()
    with use_gateway(Dying(at_call=1, after_effect=True)), pytest.raises(Crash):
        case.refund(400)
    pending = Refund.objects.get()
    for _ in range(2):
        refunds.send_refund(pending, case.row)
    assert (case.row.refunded_cents, case.provider_refunded_cents) == (400, 400)
    assert ledger.position(case.order_id).returned == 400


def test_an_undo_finishes_the_refunds_of_its_own_payment_only(case):
    case.capture()
    other = Case(total_cents=1500)
    other.authorize()
    other.capture()
    with use_gateway(Dying(at_call=1, after_effect=False)), pytest.raises(Crash):
        other.refund(400)
    case.revert()
    assert (other.row.refunded_cents, other.provider_refunded_cents) == (0, 0)


def test_a_refused_refund_leaves_another_payments_refund_as_it_is(case):
    case.capture()
    other = Case(total_cents=1500)
    other.authorize()
    other.capture()
    with use_gateway(Dying(at_call=1, after_effect=False)), pytest.raises(Crash):
        other.refund(400)
    SandboxIntent.objects.filter(id=case.row.intent_id).update(amount_refunded=1500)
    with pytest.raises(CannotRefund):
        case.refund(400)
    assert Refund.objects.get(payment_id=other.payment_id).status == RefundStatus.PENDING
