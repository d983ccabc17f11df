"""POST /api/orders with a valid order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIClient

from orders.models import MenuItem, Order, OrderLine
from sagas.models import IdempotencyKey, SagaInstance
from sagas.rest import idempotency
from sagas.testing import Runner
from tests.orders.builders import (
    BY_CUSTOMER,
    BY_USER,
    assert_stock_adds_up,
    client,
    code,
    laptops,
    live_authorizations,
    place,
    placed,
)
from timers.models import ScheduledEvent

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("given", [BY_CUSTOMER, BY_USER], ids=["customer_id", "userId"])
@pytest.mark.parametrize("path", ["/api/orders", "/api/orders/"])
def test_both_forms_are_accepted_with_and_without_a_slash(alice, laptop, runner, given, path) -> None:
    response = alice.post(path, given, format="json")
    assert response.status_code == 202
    answer = response.json()
    assert answer.keys() == {"success", "saga_id", "order_id", "status"}
    assert answer["success"] is True
    assert answer["status"] == "STARTED"
    assert response.headers["Location"] == f"/api/sagas/{answer['saga_id']}"


def test_the_order_can_be_read_at_once(alice, runner) -> None:
    order_id = place(alice).json()["order_id"]
    shown = alice.get(f"/api/orders/{order_id}").json()
    assert shown["status"] == "pendingPayment"
    assert shown["total_amount"] == "12.99"


@pytest.mark.parametrize("given", [BY_CUSTOMER, BY_USER], ids=["customer_id", "userId"])
def test_an_order_that_nothing_stops_ends_created(alice, laptop, runner, given) -> None:
    order, saga = placed(alice, given)
    runner.run_to_end()
    order.refresh_from_db()
    saga.refresh_from_db()
    assert (saga.status, order.status) == ("COMPLETED", "CREATED")
    assert live_authorizations(order.pk) == 1
    assert ScheduledEvent.objects.live().filter(entity_id=str(order.pk)).count() == 1
    assert order.accept_by is not None
    assert_stock_adds_up()


def test_a_customers_order_is_theirs_whatever_id_the_body_names(alice, runner) -> None:
    order, _ = placed(alice, BY_CUSTOMER)
    assert (order.owner, order.customer_id) == ("alice", "cust_123")


def test_a_service_orders_for_the_customer_it_names(db: None, runner: Runner) -> None:
    order, _ = placed(client("kiosk", role="service"), BY_CUSTOMER)
    assert order.owner == "cust_123"


def test_unknown_details_are_kept_with_the_order(alice, runner) -> None:
    details = BY_CUSTOMER["order_details"] | {"note": "No onions", "floor": 3, "allergies": ["nuts"]}
    details["foodItems"] = [{"name": "Burger", "price": 12.99, "quantity": 1, "extra": "cheese"}]
    order, _ = placed(alice, {"customer_id": "cust_123", "order_details": details})
    assert order.details == {
        "note": "No onions", "floor": 3, "allergies": ["nuts"], "foodItems": [{"extra": "cheese"}],
    }  # fmt: skip
    assert order.delivery_location == "North Campus"


def test_a_line_of_the_menu_and_a_free_line_stand_side_by_side(alice, laptop, runner) -> None:
    free = {"productName": "Gift wrap", "quantity": 2, "price": 0.5}
    order, _ = placed(alice, {"userId": "u", "items": [*BY_USER["items"], free]})
    lines = {line.name: line for line in OrderLine.objects.filter(order=order)}
    assert lines["Laptop"].sku == "product-guid"
    assert not lines["Laptop"].is_free_line
    assert lines["Gift wrap"].is_free_line
    assert str(order.total_amount) == "1300.99"


def test_the_price_is_frozen_when_the_order_is_placed(alice, laptop, runner) -> None:
    order, _ = placed(alice, BY_USER)
    MenuItem.objects.update(price="1.00")
    runner.run_to_end()
    assert str(order.lines.get().unit_price) == "1299.99"
    order.refresh_from_db()
    assert order.status == "CREATED"


def test_the_same_dish_on_two_lines_is_reserved_once_for_both(alice, laptop, runner) -> None:
    line = BY_USER["items"][0]
    placed(alice, {"userId": "u", "items": [line | {"quantity": 3}, line | {"quantity": 2}]})
    runner.run_to_end()
    laptop.refresh_from_db()
    assert laptop.reserved == 5
    assert_stock_adds_up()


def test_a_delivery_fee_is_added_to_the_total(alice, runner, settings) -> None:
    settings.DELIVERY_FEE = "2.50"
    order, _ = placed(alice)
    assert (str(order.food_total), str(order.delivery_fee), str(order.total_amount)) == ("12.99", "2.50", "15.49")


@pytest.mark.parametrize(("sent", "kept"), [("12.99", "12.99"), (7, "7.00"), (0.1, "0.10"), (1e2, "100.00")])
def test_prices_come_as_numbers_or_text_and_stay_exact(alice, runner, sent, kept) -> None:
    given = {"customer_id": "c", "order_details": {"foodItems": [{"name": "x", "price": sent, "quantity": 1}]}}
    order, _ = placed(alice, given)
    assert str(order.total_amount) == kept


class TestWaiting:
    """`Prefer: wait=N`. The sagas run only between two requests, so they have ended before the wait."""

    def test_the_order_is_returned_when_the_saga_has_ended(self, alice, runner) -> None:
        first = place(alice, **{"Idempotency-Key": "k"})
        runner.run_to_end()
        again = place(alice, **{"Idempotency-Key": "k", "Prefer": "respond-async, wait=5"})
        assert again.status_code == 201
        assert again.json()["status"] == "CREATED"
        assert again.headers["Location"] == f"/api/orders/{first.json()['order_id']}"

    def test_the_problem_that_stopped_it_is_returned(self, alice, runner) -> None:
        given = BY_CUSTOMER | {"payment_method": "pm_card_chargeDeclined"}
        place(alice, given, **{"Idempotency-Key": "k"})
        runner.run_to_end()
        again = place(alice, given, **{"Idempotency-Key": "k", "Prefer": "wait=5"})
        assert code(again) == "payment.declined"
        assert 400 <= again.status_code < 500
        assert again.json()["saga_status"] == "COMPENSATED"

    def test_the_wait_ends_with_202(self, alice, runner) -> None:
        response = place(alice, Prefer="wait=1")
        assert response.status_code == 202
        assert response.headers["Preference-Applied"] == "wait=1"


class TestIdempotency:
    def test_one_key_is_one_order_and_one_answer(self, alice, runner) -> None:
        first, again = (place(alice, **{"Idempotency-Key": "k1"}) for _ in range(2))
        assert again.json() == first.json()
        assert (first.status_code, again.status_code) == (202, 202)
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["Location"] == first.headers["Location"]
        assert Order.objects.count() == SagaInstance.objects.count() == 1

    def test_one_key_counts_with_and_without_a_slash(self, alice, runner) -> None:
        headers = {"Idempotency-Key": "k1"}
        first, again = (alice.post(path, BY_CUSTOMER, headers=headers) for path in ("/api/orders", "/api/orders/"))
        assert again.json() == first.json()
        assert Order.objects.count() == 1

    def test_a_key_with_another_body_is_refused(self, alice, laptop, runner) -> None:
        place(alice, BY_CUSTOMER, **{"Idempotency-Key": "k1"})
        response = place(alice, BY_USER, **{"Idempotency-Key": "k1"})
        assert response.status_code == 422
        assert code(response) == "idempotency.key_reused"

    def test_two_customers_may_use_the_same_key(self, alice, bob, runner) -> None:
        first, second = (place(each, **{"Idempotency-Key": "k1"}).json() for each in (alice, bob))
        assert first["order_id"] != second["order_id"]

    def test_a_refused_request_leaves_its_key_free(self, alice, laptop, runner) -> None:
        headers = {"Idempotency-Key": "k1"}
        assert place(alice, laptops(11), **headers).status_code == 409
        MenuItem.objects.update(stock=20)
        assert place(alice, laptops(11), **headers).status_code == 202

    def test_the_first_answer_comes_again_when_the_food_is_gone(self, alice, laptop, runner) -> None:
        first = place(alice, laptops(1), **{"Idempotency-Key": "k1"})
        MenuItem.objects.update(stock=0)
        assert place(alice, laptops(1), **{"Idempotency-Key": "k1"}).json() == first.json()

    def test_old_answers_are_deleted(self, alice, runner) -> None:
        place(alice, **{"Idempotency-Key": "k1"})
        assert idempotency.forget_old_answers() == 0
        IdempotencyKey.objects.update(created_at=timezone.now() - idempotency.KEPT_FOR - timedelta(seconds=1))
        assert idempotency.forget_old_answers() == 1

    @pytest.mark.postgres
    def test_a_repetition_during_the_first_request_is_in_progress(self, alice, runner) -> None:
        keyed = idempotency.KeyedRequest(user="alice", method="POST", path="/api/orders", key="k1", body=BY_CUSTOMER)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [keyed.lock_number])
        response = in_another_thread(lambda: place(alice, **{"Idempotency-Key": "k1"}))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [keyed.lock_number])
        assert response.status_code == 409
        assert code(response) == "idempotency.in_progress"

    @pytest.mark.parametrize("key", ["x" * 256, "schlüssel"])
    def test_an_invalid_key_is_refused(self, alice: APIClient, runner: Runner, key: str) -> None:
        assert place(alice, **{"Idempotency-Key": key}).status_code == 400


def in_another_thread(work: Callable[[], Response]) -> Response:
    responses: list[Response] = []

    def run() -> None:
        responses.append(work())
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return responses[0]


def test_an_order_is_stored_in_the_currency_it_is_paid_in(alice: APIClient, laptop: MenuItem, runner: Runner) -> None:
    order, saga = placed(alice, BY_USER)
    assert order.currency == saga.data["input"]["currency"] == "USD"
