"""Who sees which order, and how."""

from __future__ import annotations

import uuid

import pytest
from rest_framework.test import APIClient

from tests.orders.builders import BY_CUSTOMER, BY_USER, client, code, place, placed

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_order_shows_what_was_ordered_and_what_it_costs(alice, laptop, runner) -> None:
    order, saga = placed(alice, BY_USER)
    shown = alice.get(f"/api/orders/{order.pk}/").json()
    assert shown["items"] == [
        {
            "product_id": "product-guid",
            "name": "Laptop",
            "unit_price": "1299.99",
            "quantity": 1,
            "total": "1299.99",
            "is_free_line": False,
        }
    ]
    assert (shown["user_id"], shown["customer_id"], shown["owner"]) == ("user-guid", "user-guid", "alice")
    assert (shown["total_amount"], shown["currency"]) == ("1299.99", "USD")
    assert shown["saga_id"] == str(saga.pk)


@pytest.mark.parametrize("tail", ["", "/saga"])
def test_somebody_elses_order_does_not_exist(alice: APIClient, bob: APIClient, runner: object, tail: str) -> None:
    order, _ = placed(alice)
    response = bob.get(f"/api/orders/{order.pk}{tail}")
    assert response.status_code == 404
    assert code(response) == "order.not_found"


@pytest.mark.parametrize("order_id", ["nonsense", "1", pytest.param(str(uuid.uuid4()), id="unknown"), "x" * 500])
def test_an_id_of_no_order_is_not_found(alice: APIClient, order_id: str) -> None:
    for response in (
        alice.get(f"/api/orders/{order_id}"),
        alice.get(f"/api/orders/{order_id}/saga"),
        alice.post(f"/api/orders/{order_id}/cancel"),
    ):
        assert response.status_code == 404
        assert code(response) == "order.not_found"


@pytest.mark.parametrize("who", [{"is_staff": True}, {"role": "operator"}, {"role": "service"}], ids=str)
def test_staff_operators_and_services_see_all_orders(alice: APIClient, runner: object, who: dict) -> None:
    order, _ = placed(alice)
    assert client("carol", **who).get(f"/api/orders/{order.pk}").status_code == 200


def test_a_runner_sees_orders_that_wait_for_one(alice, runner) -> None:
    order, _ = placed(alice)
    rita = client("rita", role="runner")
    assert rita.get(f"/api/orders/{order.pk}").status_code == 404
    runner.run_to_end()
    assert rita.get(f"/api/orders/{order.pk}").status_code == 200


def test_the_list_shows_ones_own_orders_newest_first(alice, bob, runner) -> None:
    mine = [placed(alice)[0] for _ in range(3)]
    placed(bob)
    response = alice.get("/api/orders")
    assert [order["id"] for order in response.json()] == [str(order.pk) for order in reversed(mine)]


def test_pages_are_linked_in_the_header_and_the_body_stays_a_list(alice, runner) -> None:
    mine = [str(placed(alice)[0].pk) for _ in range(5)]
    seen, url = [], "/api/orders?limit=2"
    while url:
        response = alice.get(url)
        assert len(response.json()) <= 2
        seen += [order["id"] for order in response.json()]
        url = next_page(response.headers.get("Link", ""))
    assert seen == list(reversed(mine))


def next_page(link: str) -> str:
    for part in link.split(", "):
        if 'rel="next"' in part:
            return part[1 : part.index(">")]
    return ""


@pytest.mark.parametrize("path", ["/api/orders/user/cust_123", "/api/orders/user/cust_123/"])
def test_orders_are_found_under_the_id_they_were_ordered_with(alice, bob, laptop, runner, path) -> None:
    order, _ = placed(alice, BY_CUSTOMER)
    placed(alice, BY_USER)
    placed(bob, BY_CUSTOMER)
    assert [each["id"] for each in alice.get(path).json()] == [str(order.pk)]
    assert len(client("carol", is_staff=True).get(path).json()) == 2


def test_orders_are_found_under_ones_own_name_too(alice, runner) -> None:
    placed(alice)
    assert len(alice.get("/api/orders/user/alice").json()) == 1


def test_the_saga_of_an_order_tells_its_history(alice, runner) -> None:
    order, saga = placed(alice)
    runner.run_to_end()
    shown = alice.get(f"/api/orders/{order.pk}/saga").json()
    assert shown.keys() == {"id", "orderId", "status", "currentStep", "history"}
    assert shown["currentStep"] == "Completed", "never null, even when no step is left"
    assert (shown["id"], shown["orderId"], shown["status"]) == (str(saga.pk), str(order.pk), "COMPLETED")
    assert shown["history"][0].keys() == {"step", "status", "message", "timestamp"}
    steps = [entry["step"] for entry in shown["history"]]
    assert [step for step in steps if step != "saga"] == [
        "create_order", "validate_inventory", "reserve_inventory", "get_payment_info", "authorize_payment",
        "hold_escrow", "confirm_order", "start_timer",
    ]  # fmt: skip


def test_nobody_signed_in_sees_nothing(db: None) -> None:
    for path in ("/api/orders", f"/api/orders/{uuid.uuid4()}", "/api/orders/user/x"):
        assert APIClient().get(path).status_code == 401


def test_a_put_is_not_allowed(alice: APIClient) -> None:
    response = alice.put("/api/orders", {}, format="json")
    assert response.status_code == 405
    assert place(alice, BY_CUSTOMER).status_code == 202
