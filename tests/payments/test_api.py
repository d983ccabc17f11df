"""Reading payments and escrow: who sees which, and at which addresses."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from payments.flows.escrow import hold_id
from payments.models import LedgerTransaction
from payments.seed import seed_demo
from tests.payments.builders import Case

pytestmark = pytest.mark.django_db(transaction=True)


def client_of(name: str, **rights: bool) -> APIClient:
    user, _ = User.objects.get_or_create(username=name, defaults=rights)
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def case() -> Case:
    case = Case(owner="alice", total_cents=1299)
    case.authorize()
    case.hold(delivery_fee_cents=299)
    return case


@pytest.mark.parametrize("prefix", ["/api", ""])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_customer_reads_their_payment_and_escrow_at_every_address(case, prefix, slash):
    alice = client_of("alice")
    payment = alice.get(f"{prefix}/payments/{case.payment_id}{slash}").json()
    assert (payment["amount"], payment["currency"], payment["status"]) == ("12.99", "USD", "AUTHORIZED")
    assert [found["id"] for found in alice.get(f"{prefix}/payments{slash}").json()] == [case.payment_id]
    escrow = alice.get(f"{prefix}/escrow/{hold_id(case.order_id)}{slash}").json()
    assert (escrow["food_fee"], escrow["delivery_fee"], escrow["status"]) == ("10.00", "2.99", "HELD")
    assert len(alice.get(f"{prefix}/escrow{slash}").json()) == 1


def test_a_stranger_finds_nothing(case):
    bob = client_of("bob")
    assert bob.get("/api/payments").json() == []
    assert bob.get("/api/escrow").json() == []
    answer = bob.get(f"/api/payments/{case.payment_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "payment.unknown")
    answer = bob.get(f"/api/escrow/{hold_id(case.order_id)}")
    assert (answer.status_code, answer.json()["code"]) == (404, "escrow.unknown")


def test_staff_sees_all(case):
    staff = client_of("operator", is_staff=True)
    assert staff.get(f"/api/payments/{case.payment_id}").json()["customer_id"] == "alice"
    assert len(staff.get("/api/payments?status=AUTHORIZED").json()) == 1
    assert staff.get("/api/payments?status=VOIDED").json() == []


def test_without_a_token_nobody_gets_in(case):
    assert APIClient().get("/api/payments").status_code == 401


@pytest.mark.parametrize("path", ["payments", "escrow"])
@pytest.mark.parametrize("wrong_id", ["nonsense", "0", pytest.param(str(uuid.uuid4()), id="unknown")])
def test_an_id_nobody_has_is_a_404(case, path, wrong_id):
    assert client_of("alice").get(f"/api/{path}/{wrong_id}").status_code == 404


def test_payment_info_shows_brand_and_last_four_and_nothing_else():
    seed_demo("alice")
    seed_demo("alice")
    answer = client_of("alice").get("/api/users/alice/payment-info")
    assert answer.json() == {"user_id": "alice", "brand": "visa", "last4": "4242"}
    assert client_of("alice").get("/users/alice/payment-info").status_code == 200


def test_payment_info_of_somebody_else_is_a_404():
    seed_demo("alice")
    assert client_of("bob").get("/api/users/alice/payment-info").status_code == 404
    assert client_of("operator", is_staff=True).get("/api/users/alice/payment-info").status_code == 200


@pytest.mark.parametrize("model", ["payment", "escrowtransaction", "refund", "ledgertransaction"])
def test_the_admin_shows_money_and_lets_nobody_change_it(case, client, model):
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(f"/admin/payments/{model}/").status_code == 200
    assert client.get(f"/admin/payments/{model}/add/").status_code == 403


def test_the_admin_shows_a_booking_with_both_its_sides(case, client):
    case.capture()
    client.force_login(User.objects.create_superuser("root"))
    booked = LedgerTransaction.objects.get()
    page = client.get(f"/admin/payments/ledgertransaction/{booked.pk}/change/").content.decode()
    assert "escrow::USD" in page
    assert "12.99" in page
