"""Payments and escrow over HTTP: authorize, capture, hold, release, refund."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from payments.errors import CannotRelease
from payments.flows import order_locks
from sagas.models import IdempotencyKey
from tests.payments.builders import Case, order_fault

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator() -> APIClient:
    user = User.objects.create_user("operator", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="move_money"))
    client = APIClient()
    client.force_authenticate(user)
    return client


def authorized(operator: APIClient, amount: object = "15.00", **more: object) -> dict:
    body = {"order_id": str(uuid.uuid4()), "customer_id": "alice", "amount": amount} | more
    answer = operator.post("/api/payments/authorize", body, format="json")
    assert answer.status_code == 201, answer.content
    return answer.json()


def code_of(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_from_authorization_to_payout_and_refund(operator):
    payment = authorized(operator)
    assert (payment["status"], payment["amount"]) == ("AUTHORIZED", "15.00")
    reference = {"payment_id": payment["id"]}
    hold = operator.post("/escrow/hold", reference | {"food_fee": "12.00", "delivery_fee": "3.00"}, format="json")
    assert (hold.status_code, hold.json()["status"]) == (201, "HELD")
    captured = operator.post("/payments/capture", reference, format="json").json()
    assert (captured["status"], captured["captured_amount"]) == ("CAPTURED", "15.00")
    recipients = {"order_id": payment["order_id"], "restaurant": "acct_diner", "runner": "acct_rosa"}
    assert operator.post("/escrow/release", recipients, format="json").json()["status"] == "RELEASED"
    refund = operator.post("/payments/refund", reference, format="json").json()
    assert (refund["status"], refund["amount"]) == ("SUCCEEDED", "15.00")
    assert operator.get(f"/payments/{payment['id']}").json()["status"] == "REFUNDED"
    again = operator.post("/payments/refund", reference, format="json")
    assert code_of(again) == (409, "payment.cannot_refund")


@pytest.mark.parametrize("amount", ["12.99", 12.99, "12.9", 12, "0.01"])
def test_amounts_are_exact(operator, amount):
    payment = authorized(operator, amount)
    assert payment["amount"] == {"12.9": "12.90", "12": "12.00"}.get(str(amount), str(amount))


@pytest.mark.parametrize("amount", ["0", "-1", "1.999", "NaN", "1e3", "", None, True, [], 1.001])
def test_an_invalid_amount_is_refused(operator, amount):
    body = {"order_id": str(uuid.uuid4()), "customer_id": "alice", "amount": amount}
    assert operator.post("/api/payments/authorize", body, format="json").status_code == 400


def test_a_released_authorization_is_gone_and_stays_gone(operator):
    reference = {"payment_id": authorized(operator)["id"]}
    assert operator.post("/api/payments/release", reference, format="json").json()["status"] == "VOIDED"
    assert operator.post("/api/payments/release", reference, format="json").json()["status"] == "VOIDED"
    assert code_of(operator.post("/api/payments/capture", reference, format="json")) == (409, "payment.cannot_capture")


def test_captured_money_is_refunded_not_released(operator):
    reference = {"payment_id": authorized(operator)["id"]}
    operator.post("/api/payments/capture", reference | {"amount": "10.00"}, format="json")
    assert code_of(operator.post("/api/payments/release", reference, format="json")) == (409, "payment.cannot_release")


def test_a_partial_refund_needs_a_key_and_is_given_once_per_key(operator):
    reference = {"payment_id": authorized(operator)["id"]}
    operator.post("/api/payments/capture", reference, format="json")
    part = reference | {"amount": "5.00"}
    assert code_of(operator.post("/api/payments/refund", part, format="json")) == (400, "payment.key_required")
    for _ in range(2):
        assert operator.post("/api/payments/refund", part, format="json", HTTP_IDEMPOTENCY_KEY="a").status_code == 200
    shown = operator.get(f"/api/payments/{reference['payment_id']}").json()
    assert shown["refunded_amount"] == "5.00"


def captured(operator: APIClient) -> dict[str, str]:
    reference = {"payment_id": authorized(operator)["id"]}
    operator.post("/api/payments/capture", reference, format="json")
    return reference


@pytest.mark.parametrize("again_at", ["/api/payments/refund", "/payments/refund/"])
@pytest.mark.parametrize("amount", [{"amount": "5.00"}, {}], ids=["part", "all"])
def test_a_repeated_refund_gets_the_same_answer(operator, again_at, amount):
    body, key = captured(operator) | amount, {"Idempotency-Key": "a"}
    first = operator.post("/api/payments/refund", body, headers=key)
    again = operator.post(again_at, body, headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_key_of_another_refund_is_refused(operator):
    body, key = captured(operator), {"Idempotency-Key": "a"}
    operator.post("/api/payments/refund", body | {"amount": "5.00"}, headers=key)
    other = operator.post("/api/payments/refund", body | {"amount": "6.00"}, headers=key)
    assert code_of(other) == (422, "idempotency.key_reused")


def test_a_refund_whose_answer_was_lost_is_finished_with_its_key(operator):
    body, key = captured(operator) | {"amount": "5.00"}, {"Idempotency-Key": "a"}
    order_fault("timeout_after", "create_refund")
    assert operator.post("/api/payments/refund", body, headers=key).status_code == 503
    assert operator.post("/api/payments/refund", body, headers=key).status_code == 200
    assert operator.get(f"/api/payments/{body['payment_id']}").json()["refunded_amount"] == "5.00"


def test_a_refund_that_the_release_before_made_is_repeated_with_its_key(operator):
    body, key = captured(operator) | {"amount": "5.00"}, {"Idempotency-Key": "a"}
    first = operator.post("/api/payments/refund", body, headers=key)
    IdempotencyKey.objects.all().delete()  # the release before stored no answers
    assert operator.post("/api/payments/refund", body, headers=key).json() == first.json()


@pytest.mark.parametrize("key", ["x" * 256, "schlüssel"])
def test_a_refund_with_an_invalid_key_is_refused(operator, key):
    answer = operator.post("/api/payments/refund", captured(operator), headers={"Idempotency-Key": key})
    assert code_of(answer) == (400, "request.invalid")


def test_a_declined_card_is_a_402_that_names_the_reason(operator):
    body = {"order_id": str(uuid.uuid4()), "customer_id": "alice", "amount": "1.00"}
    answer = operator.post(
        "/api/payments/authorize", body | {"payment_method": "pm_card_chargeDeclined"}, format="json"
    )
    assert code_of(answer) == (402, "payment.declined")
    assert answer.json()["decline_code"] == "generic_decline"


def test_a_provider_that_does_not_answer_is_a_503_and_the_same_request_works_later(operator):
    body = {"order_id": str(uuid.uuid4()), "customer_id": "alice", "amount": "1.00"}
    order_fault("timeout_after", "confirm_intent")
    answer = operator.post("/api/payments/authorize", body, format="json")
    assert (code_of(answer)[0], answer["Retry-After"]) == (503, "5")
    assert operator.post("/api/payments/authorize", body, format="json").status_code == 201


def test_fees_that_do_not_add_up_hold_nothing(operator):
    reference = {"payment_id": authorized(operator)["id"]}
    answer = operator.post("/api/escrow/hold", reference | {"food_fee": "12.00"}, format="json")
    assert code_of(answer) == (409, "escrow.cannot_hold")


def test_a_hold_is_cancelled_once_and_for_all(operator):
    payment = authorized(operator)
    payload = {"payment_id": payment["id"], "food_fee": "15.00"}
    operator.post("/api/escrow/hold", payload, format="json")
    assert code_of(operator.post("/api/escrow/hold", payload, format="json")) == (409, "escrow.cannot_hold")
    order = {"order_id": payment["order_id"]}
    assert operator.post("/api/escrow/cancel", order, format="json").json()["status"] == "CANCELLED"
    operator.post("/api/payments/capture", {"payment_id": payment["id"]}, format="json")
    answer = operator.post("/api/escrow/release", order | {"restaurant": "a", "runner": "b"}, format="json")
    assert code_of(answer) == (409, "escrow.cannot_release")


@pytest.mark.parametrize("action", ["payments/release", "payments/capture", "payments/refund"])
def test_an_unknown_payment_is_a_404(operator, action):
    answer = operator.post(f"/api/{action}", {"payment_id": str(uuid.uuid4())}, format="json")
    assert code_of(answer) == (404, "payment.unknown")


@pytest.mark.parametrize("action", ["payments/release", "payments/capture", "payments/refund"])
def test_an_unknown_field_is_refused(operator, action):
    body = {"payment_id": str(uuid.uuid4()), "ammount": "1.00"}
    assert operator.post(f"/api/{action}", body, format="json").status_code == 400


@pytest.mark.parametrize(
    "action",
    [
        *("payments/authorize", "payments/release", "payments/capture", "payments/refund"),
        *("escrow/hold", "escrow/release", "escrow/cancel"),
    ],
)
def test_a_customer_moves_no_money(action):
    client = APIClient()
    client.force_authenticate(User.objects.create_user("alice"))
    assert client.post(f"/api/{action}", {}, format="json").status_code == 403


LOCKED_BODIES = {
    "payments/authorize": {"order_id", "customer_id", "amount"},
    "payments/release": {"payment_id"},
    "payments/capture": {"payment_id"},
    "escrow/hold": {"payment_id", "food_fee"},
    "escrow/release": {"order_id", "restaurant", "runner"},
    "escrow/cancel": {"order_id"},
}


@pytest.mark.parametrize("action", LOCKED_BODIES)
def test_a_locked_orders_money_is_not_moved(operator, action):
    case = Case()
    case.authorize()
    before = case.row.status

    def lock(order_id: uuid.UUID) -> None:
        if str(order_id) == case.order_id:
            raise CannotRelease("Cancel the order instead.")

    fields = {
        "order_id": case.order_id, "payment_id": case.payment_id, "customer_id": "alice", "amount": "12.99",
        "food_fee": "12.99", "restaurant": "acct_diner", "runner": "acct_rosa",
    }  # fmt: skip
    order_locks.register(lock)
    try:
        body = {name: fields[name] for name in LOCKED_BODIES[action]}
        answer = operator.post(f"/api/{action}", body, format="json")
    finally:
        order_locks.unregister(lock)
    assert code_of(answer) == (409, "payment.cannot_release"), "the lock's own answer"
    assert (case.row.status, case.live_authorizations) == (before, 1)
