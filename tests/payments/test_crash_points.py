"""A process crashes before or after each call to the provider. Run again, it must leave one authorization or none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from payments.errors import GatewayUnavailable, PaymentDeclined, PaymentReverted
from payments.gateways import use_gateway
from payments.models import PaymentStatus
from payments.sandbox.models import SandboxAnswer, SandboxIntent
from tests.payments.builders import Case, Crash, Dying, Watching, order_fault

pytestmark = pytest.mark.django_db(transaction=True)

AUTHORIZE_CALLS = ["create_intent", "confirm_intent"]
VOID_CALLS = ["cancel_intent", "retrieve_intent"]
BOUNDARIES_OF_AUTHORIZE = [(n, after) for n in range(1, len(AUTHORIZE_CALLS) + 1) for after in (False, True)]
BOUNDARIES_OF_VOID = [(n, after) for n in range(1, len(VOID_CALLS) + 1) for after in (False, True)]


def dies_during(action, boundary: tuple[int, bool]) -> None:
    at_call, after_effect = boundary
    with use_gateway(Dying(at_call=at_call, after_effect=after_effect)), pytest.raises(Crash):
        action()


def test_these_are_all_boundaries():
    case = Case()
    with use_gateway(Dying(at_call=0, after_effect=False)) as counting:
        case.authorize()
        assert counting.calls == len(AUTHORIZE_CALLS)
        case.revert()
        assert counting.calls == len(AUTHORIZE_CALLS) + len(VOID_CALLS)


@pytest.mark.parametrize("boundary", BOUNDARIES_OF_AUTHORIZE)
def test_authorize_run_again_after_a_crash_holds_the_money_once(boundary):
    case = Case()
    dies_during(case.authorize, boundary)
    case.authorize()
    assert case.row.status == PaymentStatus.AUTHORIZED
    assert (case.live_authorizations, case.authorizations_ever, len(case.provider_intents)) == (1, 1, 1)


@pytest.mark.parametrize("boundary", BOUNDARIES_OF_AUTHORIZE)
def test_undo_after_a_crash_of_authorize_leaves_no_hold(boundary):
    case = Case()
    dies_during(case.authorize, boundary)
    case.revert()
    assert case.row.status == PaymentStatus.VOIDED
    assert case.live_authorizations == 0
    assert all(intent.status == "canceled" for intent in case.provider_intents)


@pytest.mark.parametrize("boundary", BOUNDARIES_OF_AUTHORIZE)
@pytest.mark.parametrize("second", BOUNDARIES_OF_VOID)
def test_undo_that_dies_too_finishes_when_run_again(boundary, second):
    case = Case()
    dies_during(case.authorize, boundary)
    dies_during(case.revert, second)
    case.revert()
    assert case.row.status == PaymentStatus.VOIDED
    assert case.live_authorizations == 0


@pytest.mark.parametrize("boundary", BOUNDARIES_OF_VOID)
def test_undo_of_a_finished_authorization_survives_a_crash(boundary):
    case = Case()
    case.authorize()
    dies_during(case.revert, boundary)
    case.revert()
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.VOIDED, 0)


@pytest.mark.parametrize("boundary", BOUNDARIES_OF_AUTHORIZE)
def test_a_late_authorize_after_the_undo_refuses_and_holds_nothing(boundary):
    case = Case()
    dies_during(case.authorize, boundary)
    case.revert()
    with pytest.raises(PaymentReverted):
        case.authorize()
    assert case.live_authorizations == 0


def test_an_authorize_that_arrives_after_its_undo_never_reaches_the_provider():
    case = Case()
    case.revert()
    with pytest.raises(PaymentReverted):
        case.authorize()
    assert case.provider_intents == []


def test_undoing_twice_changes_nothing():
    case = Case()
    case.authorize()
    case.revert()
    case.revert()
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.VOIDED, 0)


@pytest.mark.parametrize("operation", AUTHORIZE_CALLS)
@pytest.mark.parametrize("before", [True, False])
def test_an_undo_in_the_middle_of_authorize_wins(operation, before):
    case = Case()
    with (
        use_gateway(Watching(operation, case.revert, before=before)),
        pytest.raises((PaymentReverted, PaymentDeclined)),
    ):
        case.authorize()
    case.revert()
    assert case.row.status == PaymentStatus.VOIDED
    assert case.live_authorizations == 0


@pytest.mark.parametrize("operation", AUTHORIZE_CALLS)
@pytest.mark.parametrize("before", [True, False])
def test_two_workers_authorizing_at_once_hold_the_money_once(operation, before):
    case = Case()
    with use_gateway(Watching(operation, case.authorize, before=before)):
        case.authorize()
    assert (case.live_authorizations, case.authorizations_ever) == (1, 1)


@pytest.mark.parametrize("operation", VOID_CALLS)
@pytest.mark.parametrize("before", [True, False])
def test_a_late_authorize_in_the_middle_of_the_undo_loses(operation, before):
    case = Case()
    dies_during(case.authorize, (2, False))

    def late_authorize() -> None:
        with pytest.raises(PaymentReverted):
            case.authorize()

    with use_gateway(Watching(operation, late_authorize, before=before)):
        case.revert()
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.VOIDED, 0)


def test_a_confirmation_still_on_the_wire_is_undone():
    """The confirmation of an old worker arrives while the undo is running."""
    case = Case()
    dies_during(case.authorize, (2, False))
    payment = case.row
    gateway = Dying(at_call=0, after_effect=False)

    def late_confirmation() -> None:
        gateway.confirm_intent(payment.intent_id, key=payment.key("confirm"))

    with use_gateway(Watching("cancel_intent", late_confirmation)):
        case.revert()
    assert (case.authorizations_ever, case.live_authorizations) == (1, 0)


@pytest.mark.parametrize("operation", ["cancel_intent", "retrieve_intent"])
@pytest.mark.parametrize(
    "kind", ["timeout_before", "timeout_after", "error_500", "saved_500", "saved_500_after", "garbage"]
)
def test_the_undo_is_not_over_before_canceled_was_read_back(operation, kind):
    case = Case()
    case.authorize()
    order_fault(kind, operation)
    for _ in range(3):
        try:
            case.revert()
        except GatewayUnavailable:
            assert case.row.status == PaymentStatus.VOIDING
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.VOIDED, 0)


def test_a_worker_paused_for_a_day_does_not_confirm_what_was_undone():
    """The provider has deleted the key by then: the late request creates a new intent, which no undo knows."""
    case = Case()

    def undo_and_a_day() -> None:
        case.revert()
        SandboxAnswer.objects.update(created_at=timezone.now() - timedelta(hours=25))

    with use_gateway(Watching("create_intent", undo_and_a_day)), pytest.raises(PaymentReverted):
        case.authorize()
    assert len(case.provider_intents) == 2
    assert (case.live_authorizations, case.authorizations_ever) == (0, 0)


def test_a_stored_answer_is_not_taken_for_the_current_state():
    """The reply was lost, then the hold expired. The repeated request gets the stored answer from before."""
    case = Case()
    dies_during(case.authorize, (2, True))
    SandboxIntent.objects.update(capture_before=timezone.now() - timedelta(seconds=1))
    with pytest.raises(PaymentDeclined):
        case.authorize()
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.DECLINED, 0)
