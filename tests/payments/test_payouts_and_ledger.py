"""Escrow pays restaurant, runner and platform exactly, reverses payouts for refunds, and books every movement."""

from __future__ import annotations

import uuid

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from payments import ledger
from payments.errors import CannotReleaseEscrow, GatewayUnavailable, UnknownEscrow
from payments.flows import escrow, payout
from payments.gateways import use_gateway
from payments.models import (
    AccountKind,
    EscrowTransaction,
    LedgerAccount,
    LedgerEntry,
    LedgerTransaction,
    RecipientType,
    TransactionStatus,
)
from payments.steps import cancel_escrow
from tests.payments.builders import Case, Crash, Dying, order_fault

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN_OUTCOMES = ["timeout_before", "timeout_after", "error_500", "saved_500", "saved_500_after", "garbage"]


@pytest.fixture
def case() -> Case:
    case = Case(total_cents=1500)
    case.authorize()
    case.hold(delivery_fee_cents=300)
    return case


def until_answered(action, *, attempts: int = 6):
    for _ in range(attempts):
        try:
            return action()
        except GatewayUnavailable:
            continue
    raise AssertionError("The provider never answered.")


def books_agree(case: Case) -> bool:
    """Our ledger, our payment row and the provider have the same amounts."""
    booked = ledger.position(case.order_id)
    payment = case.row
    paid_out = sum(case.provider_transfers.values()) + ledger.balances().get("platform::USD", 0)
    return (
        (booked.captured, booked.returned) == (payment.captured_cents, payment.refunded_cents)
        and booked.returned == case.provider_refunded_cents
        and booked.released == paid_out
        and sum(ledger.balances().values()) == 0
    )


def test_a_release_pays_the_restaurant_the_food_and_the_runner_the_delivery(case):
    case.capture()
    hold = case.release(fee_basis_points=1000)
    assert hold.status == TransactionStatus.RELEASED
    assert case.provider_transfers == {"acct_diner": 1080, "acct_rosa": 300}
    assert ledger.balances() == {
        "customer:alice:USD": -1500,
        "escrow::USD": 0,
        "platform::USD": 120,
        "restaurant:acct_diner:USD": 1080,
        "runner:acct_rosa:USD": 300,
    }
    assert books_agree(case)


def test_releasing_again_pays_nobody_twice(case):
    case.capture()
    case.release()
    case.release()
    assert case.provider_transfers == {"acct_diner": 1200, "acct_rosa": 300}


def test_nothing_is_released_before_it_was_captured(case):
    with pytest.raises(CannotReleaseEscrow):
        case.release()
    assert EscrowTransaction.objects.get().status == TransactionStatus.HELD


def test_a_cancelled_escrow_is_not_released(case):
    case.capture()
    cancel_escrow(order_id=case.order_id, reason="cancelled")
    with pytest.raises(CannotReleaseEscrow):
        case.release()


def test_an_order_without_escrow_has_nothing_to_release():
    with pytest.raises(UnknownEscrow):
        Case().release()


def test_what_was_refunded_before_is_not_paid_out(case):
    case.capture()
    case.refund(500)
    case.release()
    assert case.provider_transfers == {"acct_diner": 700, "acct_rosa": 300}
    assert books_agree(case)


def test_a_full_refund_after_the_payout_takes_everything_back(case):
    case.capture()
    case.release(fee_basis_points=1000)
    case.refund(1500)
    assert case.provider_transfers == {"acct_diner": 0, "acct_rosa": 0}
    assert set(ledger.balances().values()) == {0}
    assert books_agree(case)


def test_a_partial_refund_after_the_payout_comes_from_the_restaurant_first(case):
    case.capture()
    case.release()
    case.refund(500, "a")
    assert case.provider_transfers == {"acct_diner": 700, "acct_rosa": 300}
    case.refund(800, "b")
    assert case.provider_transfers == {"acct_diner": 0, "acct_rosa": 200}
    assert books_agree(case)


@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES)
@pytest.mark.parametrize("times", [1, 2])
def test_a_payout_with_an_unknown_outcome_is_paid_once(case, kind, times):
    case.capture()
    order_fault(kind, "create_transfer", times=times)
    until_answered(case.release)
    assert case.provider_transfers == {"acct_diner": 1200, "acct_rosa": 300}
    assert books_agree(case)


@pytest.mark.parametrize("kind", UNKNOWN_OUTCOMES)
def test_a_reversal_with_an_unknown_outcome_is_made_once(case, kind):
    case.capture()
    case.release()
    order_fault(kind, "reverse_transfer")
    until_answered(lambda: case.refund(500))
    assert case.provider_transfers == {"acct_diner": 700, "acct_rosa": 300}
    assert books_agree(case)


@pytest.mark.parametrize("at_call", [1, 2])
@pytest.mark.parametrize("after_effect", [False, True])
def test_a_payout_that_died_is_finished_by_the_next_run(case, at_call, after_effect):
    case.capture()
    with use_gateway(Dying(at_call=at_call, after_effect=after_effect)), pytest.raises(Crash):
        case.release()
    case.release()
    assert case.provider_transfers == {"acct_diner": 1200, "acct_rosa": 300}
    assert books_agree(case)


@pytest.mark.parametrize("at_call", [1, 2])
@pytest.mark.parametrize("after_effect", [False, True])
def test_a_refund_after_payout_that_died_is_finished_by_the_next_run(case, at_call, after_effect):
    case.capture()
    case.release()
    with use_gateway(Dying(at_call=at_call, after_effect=after_effect)), pytest.raises(Crash):
        case.refund(500)
    case.refund(500)
    assert case.provider_transfers == {"acct_diner": 700, "acct_rosa": 300}
    assert books_agree(case)


def test_the_ledger_cannot_be_changed(case):
    case.capture()
    with pytest.raises(DatabaseError), transaction.atomic():
        LedgerEntry.objects.update(amount_cents=1)
    with pytest.raises(DatabaseError), transaction.atomic():
        LedgerTransaction.objects.update(key="other")


@pytest.mark.postgres
def test_the_ledger_cannot_be_deleted(case):
    case.capture()
    with pytest.raises(DatabaseError), transaction.atomic():
        LedgerEntry.objects.all().delete()


def entry(**changes: object) -> LedgerEntry:
    for account, currency in (("escrow::USD", "USD"), ("customer:a:USD", "USD"), ("escrow::EUR", "EUR")):
        kind = AccountKind(account.split(":")[0])
        holder = account.split(":")[1]
        LedgerAccount.objects.get_or_create(id=account, kind=kind, holder=holder, currency=currency)
    values = {"debit_id": "customer:a:USD", "credit_id": "escrow::USD", "amount_cents": 5, "currency": "USD"}
    return LedgerEntry(transaction=LedgerTransaction.objects.latest("created_at"), **values | changes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_cents": 0},
        {"amount_cents": -5},
        {"credit_id": "customer:a:USD"},
        {"credit_id": "escrow::EUR"},
        {"currency": "EUR"},
        {"credit_id": None},
    ],
)
def test_an_entry_that_does_not_balance_is_refused_by_the_database(case, wrong):
    case.capture()
    entry().save()
    with pytest.raises(IntegrityError):
        entry(**wrong).save()


# -- whose money ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("basis_points", "fee"), [(0, 0), (1, 0), (83, 9), (84, 10), (10_000, 1200)])
def test_the_platforms_fee_is_rounded_down_to_the_cent_and_nothing_is_lost(case, basis_points, fee):
    case.capture()
    hold = EscrowTransaction.objects.get(order_id=case.order_id)
    recipients = payout.Recipients(restaurant="r", runner="c", platform_fee_basis_points=basis_points)
    split = {share.recipient_type: share.cents for share in payout.shares(case.row, hold, recipients)}
    expected = {RecipientType.RESTAURANT: 1200 - fee, RecipientType.RUNNER: 300, RecipientType.PLATFORM: fee}
    assert split == {recipient: cents for recipient, cents in expected.items() if cents}
    assert all(type(cents) is int for cents in split.values())


def test_a_reversal_takes_back_its_own_orders_payout_and_no_others(case):
    other = Case(total_cents=1500)
    other.authorize()
    other.hold(delivery_fee_cents=300)
    for each in (other, case):
        each.capture()
        each.release()
    case.refund(500)
    assert case.provider_transfers == {"acct_diner": 700, "acct_rosa": 300}
    assert other.provider_transfers == {"acct_diner": 1200, "acct_rosa": 300}


def test_what_the_platform_pays_back_is_no_transfer_at_the_provider(case):
    case.capture()
    case.release(fee_basis_points=10_000)
    case.refund(1500)
    platform = EscrowTransaction.objects.filter(order_id=case.order_id, recipient_type=RecipientType.PLATFORM)
    assert {(row.type, row.status, row.transfer_id) for row in platform} == {
        ("RELEASE", TransactionStatus.COMPLETED, ""),
        ("REVERSAL", TransactionStatus.COMPLETED, ""),
    }


def test_a_hold_has_the_currency_of_its_payment_and_the_id_of_its_order(case):
    hold = EscrowTransaction.objects.get(order_id=case.order_id)
    assert hold.currency == "USD"
    order_id = "6f1d6a0e-3c55-5f3f-9d0b-0c4a2b6f9e11"
    assert str(escrow.hold_id(order_id)) == str(uuid.uuid5(uuid.UUID(order_id), "escrow.hold")), "kept over releases"
