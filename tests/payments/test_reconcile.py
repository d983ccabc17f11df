"""Each kind of drift is found, and repaired if there is only one right way. Correct books have no drift."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from payments.findings import Drift
from payments.flows import order_locks
from payments.gateways import current_gateway, use_gateway
from payments.models import Payment, PaymentStatus
from payments.reconcile import reconcile
from payments.sandbox.models import SandboxIntent, SandboxTransfer
from tests.payments.builders import Case, Crash, Dying

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)


def drifts(**how: bool) -> dict[Drift, bool]:
    return {finding.drift: finding.is_healed for finding in reconcile(grace=NOW, **how)}


def finished_order() -> Case:
    case = Case(total_cents=1500)
    case.authorize()
    case.hold(delivery_fee_cents=300)
    case.capture()
    case.release()
    return case


def test_correct_books_have_no_drift():
    finished_order().refund(700)
    declined, reverted, authorized = Case(payment_method_id="pm_card_chargeDeclined"), Case(), Case()
    with pytest.raises(Exception, match="declined"):
        declined.authorize()
    reverted.authorize()
    reverted.revert()
    authorized.authorize()
    reconcile(grace=NOW)  # cancels the declined intent
    assert drifts() == {}


def test_an_orphan_authorization_is_cancelled():
    case = Case()
    gateway = current_gateway()
    intent = gateway.create_intent(
        amount_cents=100,
        currency="USD",
        payment_method_id="pm_card_visa",
        payment_id=str(uuid.uuid4()),
        order_id=case.order_id,
        key="orphan",
    )
    gateway.confirm_intent(intent.id, key="orphan-confirm")
    assert case.live_authorizations == 1
    assert drifts() == {Drift.ORPHAN_AUTHORIZATION: True}
    assert case.live_authorizations == 0
    assert drifts() == {}


def test_a_second_authorization_of_a_live_payment_is_cancelled_and_the_first_one_stays():
    case = Case()
    case.authorize()
    gateway = current_gateway()
    second = gateway.create_intent(
        amount_cents=case.total_cents,
        currency="USD",
        payment_method_id="pm_card_visa",
        payment_id=case.payment_id,
        order_id=case.order_id,
        key="second",
    )
    gateway.confirm_intent(second.id, key="second-confirm")
    assert drifts() == {Drift.ORPHAN_AUTHORIZATION: True}
    assert case.live_authorizations == 1
    assert case.row.status == PaymentStatus.AUTHORIZED


def test_a_hold_of_a_voided_payment_is_cancelled():
    case = Case()
    case.authorize()
    Payment.objects.update(status=PaymentStatus.VOIDED)
    assert drifts() == {Drift.ORPHAN_AUTHORIZATION: True}
    assert case.live_authorizations == 0


def test_reporting_only_changes_nothing():
    case = Case()
    case.authorize()
    Payment.objects.update(status=PaymentStatus.VOIDED)
    assert drifts(heal=False) == {Drift.ORPHAN_AUTHORIZATION: False}
    assert case.live_authorizations == 1


def test_what_changed_within_the_grace_period_is_no_drift_yet():
    voided, ended, captured = Case(), Case(), Case()
    for case in (voided, ended, captured):
        case.authorize()
    captured.hold()
    captured.capture()
    Payment.objects.filter(pk=voided.payment_id).update(status=PaymentStatus.VOIDED)
    Payment.objects.filter(pk=captured.payment_id).update(status=PaymentStatus.CAPTURING)
    SandboxIntent.objects.filter(id=ended.row.intent_id).update(status="canceled")
    assert reconcile() == []
    assert voided.live_authorizations == 1
    assert (ended.row.status, captured.row.status) == (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING)
    assert drifts(heal=False) != {}


def test_an_authorization_that_the_provider_cancelled_is_written_off():
    case = Case()
    case.authorize()
    SandboxIntent.objects.update(status="canceled")
    assert drifts() == {Drift.LOST_AUTHORIZATION: True}
    assert case.row.status == PaymentStatus.EXPIRED


def test_an_authorization_the_provider_never_heard_of_is_reported():
    Case().authorize()
    SandboxIntent.objects.all().delete()
    assert drifts() == {Drift.UNKNOWN_AT_PROVIDER: False}


def test_an_authorization_about_to_lapse_is_a_warning():
    Case().authorize()
    Payment.objects.update(capture_before=timezone.now() + timedelta(hours=1))
    assert drifts() == {Drift.ABOUT_TO_LAPSE: False}


def test_money_captured_by_hand_is_reported():
    case = Case()
    case.authorize()
    SandboxIntent.objects.update(status="succeeded", amount_received=case.total_cents)
    assert drifts() == {Drift.CAPTURED_WITHOUT_PAYMENT: False}


def test_money_refunded_by_hand_is_reported():
    case = Case()
    case.authorize()
    case.capture()
    SandboxIntent.objects.update(amount_refunded=5)
    assert drifts() == {Drift.AMOUNT_MISMATCH: False}


def test_an_authorization_over_another_amount_is_reported():
    Case().authorize()
    SandboxIntent.objects.update(amount=1)
    assert drifts() == {Drift.AMOUNT_MISMATCH: False}


def test_a_payment_row_that_is_not_what_the_ledger_says_is_reported():
    case = Case()
    case.authorize()
    case.capture()
    SandboxIntent.objects.update(amount_received=1000)
    Payment.objects.update(captured_cents=1000)
    assert drifts() == {Drift.LEDGER_MISMATCH: False}


def test_a_transfer_that_is_not_there_is_reported():
    finished_order()
    SandboxTransfer.objects.filter(destination="acct_rosa").delete()
    assert drifts() == {Drift.MISSING_TRANSFER: False}


def test_a_transfer_reversed_by_hand_is_reported():
    finished_order()
    SandboxTransfer.objects.filter(destination="acct_rosa").update(amount_reversed=1)
    assert drifts() == {Drift.TRANSFER_MISMATCH: False}


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_void_left_half_done_is_finished(after_effect):
    case = Case()
    case.authorize()
    with use_gateway(Dying(at_call=1, after_effect=after_effect)), pytest.raises(Crash):
        case.revert()
    assert drifts()[Drift.UNFINISHED] is True
    assert (case.row.status, case.live_authorizations) == (PaymentStatus.VOIDED, 0)


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_refund_left_half_done_is_finished(after_effect):
    case = Case()
    case.authorize()
    case.capture()
    with use_gateway(Dying(at_call=1, after_effect=after_effect)), pytest.raises(Crash):
        case.refund(400)
    assert drifts()[Drift.UNFINISHED] is True
    assert (case.row.refunded_cents, case.provider_refunded_cents) == (400, 400)


def test_the_authorization_of_an_order_that_is_over_is_voided():
    dead, alive = Case(), Case()
    dead.authorize()
    alive.authorize()

    def find_ended(order_ids: list[uuid.UUID]) -> set[uuid.UUID]:
        return {order_id for order_id in order_ids if str(order_id) == dead.order_id}

    order_locks.register_ended_orders(find_ended)
    try:
        assert drifts() == {Drift.AUTHORIZATION_OF_DEAD_ORDER: True}
    finally:
        order_locks.unregister_ended_orders(find_ended)
    assert (dead.live_authorizations, alive.live_authorizations) == (0, 1)


def test_a_payment_under_way_is_not_changed():
    case = Case()
    with use_gateway(Dying(at_call=2, after_effect=True)), pytest.raises(Crash):
        case.authorize()
    assert reconcile() == []
    case.authorize()
    assert case.live_authorizations == 1


def test_the_command_lists_drifts_and_exits_1(capsys):
    Case().authorize()
    call_command("reconcile", "--grace-seconds=0")
    assert "0 drifts" in capsys.readouterr().out
    SandboxIntent.objects.update(status="canceled")
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", "--grace-seconds=0", "--json")
    assert ended.value.code == 1
    assert '"drift": "lost_authorization"' in capsys.readouterr().out
