"""Random sequences of all actions on a payment. The equations I4 and I5 hold after each action."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments import ledger
from payments.errors import GatewayStateConflict, GatewayUnavailable, PaymentError, PayoutInProgress
from payments.flows import escrow
from payments.models import (
    EscrowTransaction,
    LedgerEntry,
    PaymentStatus,
    Refund,
    TransactionStatus,
    TransactionType,
)
from payments.sandbox.models import FaultKind, SandboxFault
from sagas.errors import Refusal
from tests.payments.builders import Case, order_fault
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

TOTAL = 1000
ACTIONS = st.one_of(
    st.just(("authorize", 0)),
    st.just(("hold", 0)),
    st.tuples(st.just("capture"), st.integers(1, TOTAL + 1)),
    st.tuples(st.just("refund"), st.integers(0, TOTAL + 1)),
    st.just(("release", 0)),
    st.just(("cancel_hold", 0)),
    st.just(("revert", 0)),
    st.tuples(st.just("fault"), st.integers(0, len(FaultKind.values) - 1)),
)


def act(case: Case, action: str, number: int, key: str) -> None:
    """Run one action. A refusal must be one that HTTP returns as a 4xx."""
    doing: dict[str, Callable[[], object]] = {
        "authorize": case.authorize,
        "hold": lambda: case.hold(delivery_fee_cents=300),
        "capture": lambda: case.capture(number),
        "refund": lambda: case.refund(number, key),
        "release": lambda: case.release(fee_basis_points=500),
        "cancel_hold": lambda: escrow.cancel_hold(case.order_id, reason="cancelled"),
        "revert": case.revert,
        "fault": lambda: order_fault(FaultKind.values[number]),
    }
    refusal = answer_of(doing[action])
    assert refusal is None or 400 <= refusal.status < 500


def answer_of(doing: Callable[[], object]) -> PaymentError | None:
    try:
        doing()
    except (GatewayUnavailable, GatewayStateConflict, PayoutInProgress):
        return None
    except Refusal as refusal:
        return cast("PaymentError", refusal)
    return None


def assert_equations(case: Case) -> None:
    provider_taken = sum(intent.amount_received for intent in case.provider_intents)
    assert case.live_authorizations <= 1
    assert case.authorizations_ever <= 1
    assert case.provider_refunded_cents <= provider_taken <= TOTAL
    for payment in type(case.row).objects.filter(pk=case.payment_id):
        assert 0 <= payment.refunded_cents <= payment.refund_claimed_cents <= payment.captured_cents <= TOTAL
        assert payment.captured_cents <= provider_taken
        assert payment.refunded_cents <= case.provider_refunded_cents
        booked = ledger.position(case.order_id)
        assert (booked.captured, booked.returned) == (payment.captured_cents, payment.refunded_cents)
        assert booked.held >= 0
    assert sum(ledger.balances().values()) == 0
    assert sum(case.provider_transfers.values()) <= provider_taken - case.provider_refunded_cents


def assert_settled(case: Case) -> None:
    """When the provider works again, an undo leaves nothing that the customer paid and no payout."""
    SandboxFault.objects.all().delete()
    insist(case.release)  # finishes a payout that was interrupted
    insist(case.revert)
    assert case.live_authorizations == 0
    assert case.provider_refunded_cents == sum(intent.amount_received for intent in case.provider_intents)
    assert ledger.position(case.order_id).held == 0
    assert not any(case.provider_transfers.values())
    assert_equations(case)


def insist(action: Callable[[], object], *, attempts: int = 10) -> None:
    """Repeat until the provider answers, even with a refusal."""
    for _ in range(attempts):
        with contextlib.suppress(GatewayUnavailable):
            answer_or_refusal(action)
            return
    raise AssertionError("The provider never answered.")


def answer_or_refusal(action: Callable[[], object]) -> None:
    with contextlib.suppress(Refusal):
        action()


@pytest.fixture
def clean_tables(transactional_db: None) -> None:
    """Each example has a new order, so the tables need not be emptied between examples."""


AUTHORIZED = [("authorize", 0), ("hold", 0)]
STARTS = [[], AUTHORIZED, [*AUTHORIZED, ("capture", TOTAL)], [*AUTHORIZED, ("capture", TOTAL), ("release", 0)]]


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(STARTS),
    actions=st.lists(ACTIONS, min_size=1, max_size=8),
    method=st.sampled_from(["pm_card_visa", "pm_card_visa", "pm_sandbox_timeout_after"]),
)
def test_the_books_are_right_after_any_sequence(clean_tables, start, actions, method):
    SandboxFault.objects.all().delete()
    case = Case(total_cents=TOTAL, payment_method_id=method)
    has_payment = False
    for position, (action, number) in enumerate([*start, *actions]):
        if action in ("capture", "refund") and not has_payment:
            continue
        has_payment = has_payment or action in ("authorize", "revert")
        with contextlib.suppress(RepeatedHold):
            act_unless_repeated(case, action, number, f"refund-{position}")
        if has_payment:
            assert_equations(case)
    if has_payment:
        assert_settled(case)


class RepeatedHold(Exception):
    """The unique constraint refuses a second hold. The engine never runs a completed step again."""


def act_unless_repeated(case: Case, action: str, number: int, key: str) -> None:
    if action == "hold" and EscrowTransaction.objects.filter(order_id=case.order_id).exists():
        raise RepeatedHold
    act(case, action, number, key)


def only_refusals(outcomes: list[object]) -> bool:
    return all(isinstance(outcome, PaymentError) for outcome in outcomes if isinstance(outcome, Exception))


ROUNDS = 10


@pytest.mark.postgres
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_concurrent_refunds_never_give_back_more_than_was_taken(_round):
    case = Case(total_cents=TOTAL)
    case.authorize()
    case.capture()
    outcomes = at_once([lambda number=number: case.refund(300, f"refund-{number}") for number in range(6)])
    assert only_refusals(outcomes)
    assert sum(isinstance(outcome, Refund) for outcome in outcomes) == 3
    assert case.row.refunded_cents == case.provider_refunded_cents == 900
    assert_equations(case)


@pytest.mark.postgres
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_a_capture_and_an_undo_at_once_end_with_nothing_to_pay(_round):
    case = Case(total_cents=TOTAL)
    case.authorize()
    assert only_refusals(at_once([case.capture, case.revert]))
    assert case.row.status in (PaymentStatus.VOIDED, PaymentStatus.REFUNDED)
    assert case.live_authorizations == 0
    assert_equations(case)


@pytest.mark.postgres
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_authorizations_at_once_are_one(_round):
    case = Case(total_cents=TOTAL)
    assert only_refusals(at_once([case.authorize] * 4))
    case.authorize()
    assert (case.live_authorizations, case.authorizations_ever) == (1, 1)


@pytest.mark.postgres
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_an_authorization_and_its_undo_at_once_leave_no_hold(_round):
    case = Case(total_cents=TOTAL)
    assert only_refusals(at_once([case.authorize, case.revert, case.authorize]))
    case.revert()
    assert case.live_authorizations == 0


@pytest.mark.postgres
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_a_payout_and_a_refund_at_once_share_the_money_exactly(_round):
    case = Case(total_cents=TOTAL)
    case.authorize()
    case.hold(delivery_fee_cents=300)
    case.capture()
    outcomes = at_once([case.release, case.release, lambda: case.refund(400)])
    assert only_refusals(outcomes)
    case.release()
    case.refund(400)
    assert sum(case.provider_transfers.values()) == TOTAL - 400
    assert case.row.refunded_cents == case.provider_refunded_cents == 400
    pending = EscrowTransaction.objects.filter(
        status=TransactionStatus.PENDING, type__in=(TransactionType.RELEASE, TransactionType.REVERSAL)
    )
    assert not pending.exists()
    assert LedgerEntry.objects.count() > 0
    assert_equations(case)
