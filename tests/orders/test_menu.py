"""The menu: everybody reads it, the staff of a restaurant changes it, and reservations of orders stay valid."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from orders import inventory
from orders.models import MenuItem, RestaurantStaff
from tests.orders.builders import assert_stock_adds_up, client, code, laptop
from tests.orders.test_inventory import an_order, lines

pytestmark = pytest.mark.django_db

SOUP: dict[str, Any] = {"sku": "soup", "restaurant": "Campus Store", "name": "Soup", "price": "4.50", "stock": 20}


@pytest.fixture
def cook(db: None) -> APIClient:
    """A member of the staff of the Campus Store."""
    RestaurantStaff.objects.create(username="cook", restaurant="Campus Store")
    return client("cook", role="restaurant")


def test_everybody_reads_what_is_on_sale(alice: APIClient) -> None:
    laptop()
    laptop(sku="old", is_active=False)
    laptop(sku="pizza", restaurant="Pizza Corner")
    assert [item["sku"] for item in alice.get("/api/menu").json()] == ["product-guid", "pizza"]
    assert [item["sku"] for item in alice.get("/api/menu?restaurant=Pizza%20Corner").json()] == ["pizza"]
    shown = alice.get("/api/menu/product-guid").json()
    assert (shown["price"], shown["available"]) == ("1299.99", 10)


def test_the_staff_adds_changes_and_takes_off(cook: APIClient) -> None:
    added = cook.post("/api/menu", SOUP, format="json")
    assert added.status_code == 201
    assert cook.get(added.headers["Location"]).json() == added.json()
    changed = cook.patch("/api/menu/soup", {"price": 5, "low_stock_at": 3}, format="json")
    assert (changed.json()["price"], changed.json()["low_stock_at"]) == ("5.00", 3)
    assert cook.delete("/api/menu/soup").status_code == 204
    assert not MenuItem.objects.get().is_active


@pytest.mark.parametrize("who", ["alice", "rita"])
def test_nobody_else_does(cook: APIClient, who: str) -> None:
    laptop()
    other = client(who, role="runner" if who == "rita" else "")
    responses = [
        other.post("/api/menu", SOUP, format="json"),
        other.patch("/api/menu/product-guid", {"price": 1}, format="json"),
        other.delete("/api/menu/product-guid"),
        other.post("/api/menu/product-guid/restock", {"quantity": 1}, format="json"),
        other.get("/api/menu/low-stock"),
    ]
    assert [response.status_code for response in responses] == [403] * 5
    assert {code(response) for response in responses} == {"auth.forbidden"}


def test_the_staff_cannot_change_the_menu_of_another_restaurant(cook: APIClient) -> None:
    laptop(sku="pizza", restaurant="Pizza Corner")
    assert cook.patch("/api/menu/pizza", {"price": 1}, format="json").status_code == 403
    assert cook.post("/api/menu", SOUP | {"restaurant": "Pizza Corner"}, format="json").status_code == 403


def test_a_sku_is_unique(cook: APIClient) -> None:
    cook.post("/api/menu", SOUP, format="json")
    response = cook.post("/api/menu", SOUP, format="json")
    assert response.status_code == 409
    assert code(response) == "menu.sku_taken"


def test_an_unknown_item_is_not_found(cook: APIClient) -> None:
    for response in (cook.get("/api/menu/none"), cook.patch("/api/menu/none", {}, format="json")):
        assert response.status_code == 404
        assert code(response) == "menu.unknown_item"


@pytest.mark.parametrize(
    "changes",
    [
        {"price": -1},
        {"price": "1.005"},
        {"price": 10_000_000},
        {"stock": -1},
        {"stock": 1.5},
        {"stock": True},
        {"sku": "a b"},
        {"sku": "x" * 65},
        {"sku": "a/b"},
        {"name": ""},
        {"reserved": 5},
    ],
    ids=str,
)
def test_an_invalid_item_is_refused(cook: APIClient, changes: dict[str, Any]) -> None:
    response = cook.post("/api/menu", SOUP | changes, format="json")
    assert response.status_code == 400
    assert code(response) == "request.invalid"
    assert not MenuItem.objects.exists()


def test_the_stock_is_never_set_below_what_is_promised(cook: APIClient) -> None:
    laptop()
    inventory.reserve_inventory(order_id=str(an_order().pk), lines=lines(product_guid=4))
    response = cook.patch("/api/menu/product-guid", {"stock": 3}, format="json")
    assert response.status_code == 409
    assert code(response) == "menu.stock_promised"
    assert response.json()["reserved"] == 4
    assert cook.patch("/api/menu/product-guid", {"stock": 4}, format="json").json()["available"] == 0
    assert_stock_adds_up()


def test_a_delivery_is_added_to_the_stock(cook: APIClient) -> None:
    laptop()
    assert cook.post("/api/menu/product-guid/restock", {"quantity": 5}, format="json").json()["stock"] == 15


def test_the_staff_sees_what_is_low_on_stock(cook: APIClient) -> None:
    laptop(low_stock_at=5)
    laptop(sku="cable", stock=5, low_stock_at=5)
    laptop(sku="pizza", stock=0, restaurant="Pizza Corner")
    assert [item["sku"] for item in cook.get("/api/menu/low-stock").json()] == ["cable"]
    inventory.reserve_inventory(order_id=str(an_order().pk), lines=lines(product_guid=6))
    assert {item["sku"] for item in cook.get("/api/menu/low-stock").json()} == {"cable", "product-guid"}
    assert len(client("olga", is_staff=True).get("/api/menu/low-stock").json()) == 3
