"""The sandbox provider: how long keys and authorizations last, and which payment tokens it knows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from payments.errors import UnknownPaymentMethod
from payments.gateways import current_gateway
from payments.gateways.base import IntentStatus
from payments.models import PaymentMethod
from payments.sandbox.models import SandboxAnswer, SandboxIntent
from payments.services import check_payment_method
from payments.steps import get_payment_info
from tests.payments.builders import Case

pytestmark = pytest.mark.django_db(transaction=True)


def create(key: str):
    return current_gateway().create_intent(
        amount_cents=5, currency="USD", payment_method_id="pm_card_visa", payment_id="p", order_id="o", key=key
    )


@pytest.mark.parametrize(("hours", "is_replayed"), [(23, True), (25, False)])
def test_a_key_is_remembered_for_24_hours(hours, is_replayed):
    first = create("same")
    SandboxAnswer.objects.update(created_at=timezone.now() - timedelta(hours=hours))
    assert (create("same").id == first.id) is is_replayed


def test_an_authorization_lapses_after_seven_days():
    case = Case()
    case.authorize()
    assert case.row.capture_before - case.row.created_at > timedelta(days=6)
    SandboxIntent.objects.update(capture_before=timezone.now())
    assert current_gateway().retrieve_intent(case.row.intent_id).status == IntentStatus.CANCELED


@pytest.mark.parametrize("token", ["", "pm_card_visa", "pm_sandbox_slow", "pm_card_chargeDeclined"])
def test_a_known_token_is_accepted(token):
    check_payment_method(token)


@pytest.mark.parametrize("token", ["pm_card_unknown", "tok_visa", "4", "pm_card_visa ", "PM_CARD_VISA"])
def test_an_unknown_token_is_refused(token):
    with pytest.raises(UnknownPaymentMethod):
        check_payment_method(token)


def test_with_a_real_provider_a_token_must_look_like_one_and_belong_to_nobody_else(settings):
    settings.STRIPE_API_KEY = "sk_test_x"
    PaymentMethod.objects.create(owner="alice", provider_id="pm_alices", brand="visa", last4="1111", is_default=True)
    assert get_payment_info(owner="alice", payment_method="")["payment_method_id"] == "pm_alices"
    assert get_payment_info(owner="bob", payment_method="pm_new")["payment_method_id"] == "pm_new"
    for token in ("pm_alices", "", "tok_1", "pm_card visa"):
        with pytest.raises(UnknownPaymentMethod):
            get_payment_info(owner="bob", payment_method=token)
