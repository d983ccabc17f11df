"""CampusG in eight stories over HTTP. Read from top to bottom they are a tutorial, and the tests check it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.stories.campus import Campus, Person

pytestmark = pytest.mark.django_db(transaction=True)

PIZZA = ("margherita", "9.50", 1)
LAST_PORTION = ("last-portion", "18.00", 1)
HALF_AN_HOUR = timedelta(minutes=30)


def test_lunch_is_ordered_and_delivered(campus: Campus, alice: Person, rita: Person, stock) -> None:
    # Alice looks at the menu and orders a pizza to the library.
    menu = alice.gets("/api/menu?restaurant=Pizza%20Corner")
    assert "margherita" in [dish["sku"] for dish in menu]
    placed = alice.orders(PIZZA, deliveryLocation="Library")
    assert placed["status"] == "STARTED"

    # She can read the order at once. It is not paid yet.
    assert alice.order(placed)["status"] == "pendingPayment"

    # A moment later the pizza is reserved, the money is held on her card, and runners see the order.
    campus.run_sagas()
    assert alice.order(placed)["status"] == "CREATED"
    assert stock("margherita") == (1000, 1)
    assert alice.history(placed)[:8] == [
        "create_order", "validate_inventory", "reserve_inventory", "get_payment_info", "authorize_payment",
        "hold_escrow", "confirm_order", "start_timer",
    ]  # fmt: skip

    # Rita accepts the order. Now Alice pays.
    [waiting] = rita.gets("/api/orders/available")
    assert waiting["delivery_location"] == "Library"
    assert rita.posts(f"/api/orders/{waiting['id']}/accept").status_code == 200
    campus.run_sagas()
    assert alice.order(placed)["status"] == "ACCEPTED"
    assert alice.order(placed)["runner"] == "rita"

    # Rita delivers it. Restaurant and runner are paid, and the pizza is no longer in stock.
    assert rita.posts(f"/api/orders/{waiting['id']}/complete").status_code == 200
    campus.run_sagas()
    assert alice.order(placed)["status"] == "COMPLETED"
    assert stock("margherita") == (999, 0)


def test_a_declined_card_gives_the_food_back(campus: Campus, alice: Person, stock) -> None:
    placed = alice.orders(PIZZA, payment_method="pm_card_chargeDeclinedInsufficientFunds")
    campus.run_sagas()

    order = alice.order(placed)
    assert order["status"] == "FAILED"
    assert order["reason_code"] == "payment.declined"
    assert order["reason"]
    assert stock("margherita") == (1000, 0)

    # Every step was undone, the last one first.
    assert alice.gets(f"/api/orders/{placed['order_id']}/saga")["status"] == "COMPENSATED"
    undone = [step for step in alice.history(placed) if step in ("release_inventory", "cancel_order")]
    assert undone == ["release_inventory", "cancel_order"]


def test_the_last_portion_is_sold_to_one_of_two(campus: Campus, alice: Person, stock) -> None:
    bob = campus.person("bob")

    # Both order the last portion at the same moment. It is still there when each of them orders.
    first, second = alice.orders(LAST_PORTION), bob.orders(LAST_PORTION)
    campus.run_sagas()

    assert alice.order(first)["status"] == "CREATED"
    assert bob.order(second)["status"] == "FAILED"
    assert bob.order(second)["reason_code"] == "order.out_of_stock"
    assert stock("last-portion") == (1, 1)

    # A customer who orders later is refused at once.
    refused = bob.tries_to_order(LAST_PORTION)
    assert refused.status_code == 409
    assert refused.json()["code"] == "order.out_of_stock"

    # When Alice cancels, the portion is available again.
    assert alice.posts(f"/api/orders/{first['order_id']}/cancel").status_code == 202
    campus.run_sagas()
    assert stock("last-portion") == (1, 0)
    bob.orders(LAST_PORTION)


def test_nobody_comes(campus: Campus, alice: Person, rita: Person, stock) -> None:
    placed = alice.orders(PIZZA)
    campus.run_sagas()

    # After 29 minutes the order still waits for a runner.
    campus.let_pass(HALF_AN_HOUR - timedelta(minutes=1))
    campus.sweep()
    assert alice.order(placed)["status"] == "CREATED"

    # After 30 minutes the timer cancels it, and more sweeps change nothing.
    campus.let_pass(timedelta(minutes=1, seconds=1))
    campus.sweep()
    campus.sweep()
    campus.run_sagas()
    order = alice.order(placed)
    assert order["status"] == "CANCELLED"
    assert (order["reason_code"], order["reason"]) == ("order_timed_out", "Order timed out (30 minutes)")
    assert order["cancelled_by"] == "system"
    assert stock("margherita") == (1000, 0)

    # Rita is too late.
    assert rita.gets("/api/orders/available") == []


@pytest.mark.parametrize("steps_done", range(8))
def test_a_customer_changes_their_mind(campus: Campus, alice: Person, stock, steps_done: int) -> None:
    placed = alice.orders(PIZZA)
    for _ in range(steps_done):
        campus.deliver_one_message()

    # The preview says what will be undone.
    path = f"/api/orders/{placed['order_id']}/cancel"
    preview = alice.gets(path)
    payload = {"reason_code": "other", "reason": "I found a sandwich"}
    assert alice.posts(path, payload).status_code == 202
    assert alice.order(placed)["status"] == "CANCELLING"
    campus.run_sagas()

    order = alice.order(placed)
    assert (order["status"], order["reason"]) == ("CANCELLED", "I found a sandwich")
    assert stock("margherita") == (1000, 0)
    assert preview["runs"][-1] == "cancel_order"

    # A second cancellation is refused.
    again = alice.posts(path)
    assert again.status_code == 409
    assert again.json()["order_status"] == "CANCELLED"


@pytest.mark.parametrize("runner_is_first", [True, False], ids=["runner first", "timer first"])
def test_runner_and_timer_race(campus: Campus, alice: Person, rita: Person, runner_is_first: bool) -> None:
    placed = alice.orders(PIZZA)
    campus.run_sagas()
    accept = f"/api/orders/{placed['order_id']}/accept"

    if runner_is_first:
        campus.let_pass(HALF_AN_HOUR - timedelta(seconds=10))
        assert rita.posts(accept).status_code == 200
        campus.let_pass(timedelta(seconds=20))
        campus.sweep()
    else:
        campus.let_pass(HALF_AN_HOUR + timedelta(seconds=1))
        refused = rita.posts(accept)
        assert refused.status_code == 409
        assert refused.json()["order_status"] == "CREATED", "it is too late, even before the sweep"
        campus.sweep()

    campus.run_sagas()
    assert alice.order(placed)["status"] == ("ACCEPTED" if runner_is_first else "CANCELLED")


def test_the_restaurant_closes(campus: Campus, alice: Person, gino: Person, stock) -> None:
    placed = alice.orders(PIZZA)
    campus.run_sagas()

    # Gino sees the order because it is for his restaurant. He cancels it and gives the reason.
    payload = {"reason_code": "restaurant_closed"}
    assert gino.posts(f"/api/orders/{placed['order_id']}/cancel", payload).status_code == 202
    campus.run_sagas()
    order = alice.order(placed)
    assert (order["status"], order["cancelled_by"]) == ("CANCELLED", "restaurant")
    assert order["reason"] == "The restaurant has closed"

    # And he takes the pizza off the menu.
    assert gino.patches("/api/menu/margherita", {"is_active": False}).status_code == 200
    refused = alice.tries_to_order(PIZZA)
    assert refused.json()["code"] == "order.unknown_product"


def test_a_cold_pizza_is_refunded(campus: Campus, alice: Person, rita: Person, olga: Person) -> None:
    placed = alice.orders(PIZZA)
    campus.run_sagas()
    for step in ("accept", "complete"):
        rita.posts(f"/api/orders/{placed['order_id']}/{step}")
        campus.run_sagas()

    # Alice cannot cancel any more. An operator can, and first sees which money would be moved.
    path = f"/api/orders/{placed['order_id']}/cancel"
    assert alice.posts(path).status_code == 409
    preview = olga.gets(path)
    assert preview["way"] == "refund"
    assert [(move["kind"], move["amount"]) for move in preview["money"]] == [
        ("reverse_payout", "9.50"),
        ("refund", "9.50"),
    ]
    assert olga.posts(path, {"reason_code": "other", "reason": "It was cold"}).status_code == 202
    campus.run_sagas()
    order = alice.order(placed)
    assert (order["status"], order["reason"], order["cancelled_by"]) == ("CANCELLED", "It was cold", "operator")
