"""POST /api/orders with an invalid order returns a problem with a code and advice, and writes no row."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from orders.models import MenuItem
from tests.orders.builders import BY_CUSTOMER, BY_USER, body, code, laptops, nothing_written, place

pytestmark = pytest.mark.django_db


def line(**changes: Any) -> dict[str, Any]:
    return body({"productName": "Soup", "quantity": 1, "price": 4.5} | changes)


def food(**changes: Any) -> dict[str, Any]:
    given = copy.deepcopy(BY_CUSTOMER)
    given["order_details"]["foodItems"][0].update(changes)
    return given


NOT_VALID: dict[str, Any] = {
    "a list": [],
    "a string": "order",
    "null": None,
    "an empty object": {},
    "both forms": BY_CUSTOMER | BY_USER,
    "the forms crossed": {"customer_id": "c", "items": BY_USER["items"]},
    "an unknown field": BY_USER | {"discount": 5},
    "an owner": BY_USER | {"owner": "bob"},
    "a status": BY_CUSTOMER | {"status": "CREATED"},
    "an unknown field of a line": line(colour="red"),
    "no items": {"userId": "u"},
    "no details": {"customer_id": "c"},
    "details that are a list": {"customer_id": "c", "order_details": []},
    "details without food": {"customer_id": "c", "order_details": {"deliveryLocation": "x"}},
    "an empty basket": body(),
    "an empty basket of food": {"customer_id": "c", "order_details": {"foodItems": []}},
    "items that are an object": {"userId": "u", "items": {"quantity": 1}},
    "a line that is a number": {"userId": "u", "items": [1]},
    "51 lines": body(*[{"productName": "Soup", "quantity": 1, "price": 1}] * 51),
    "quantity 0": line(quantity=0),
    "quantity 100": line(quantity=100),
    "quantity -1": line(quantity=-1),
    "quantity as a fraction": line(quantity=1.0),
    "quantity as text": line(quantity="1"),
    "quantity as a boolean": line(quantity=True),
    "quantity null": line(quantity=None),
    "a negative price": line(price=-1),
    "a negative price of food": food(price=-0.01),
    "a price with three decimals": line(price=1.005),
    "a price with three decimals as text": line(price="1.005"),
    "a price with three decimals of food": food(price=12.999),
    "a price in words": line(price="cheap"),
    "a price that is a boolean": line(price=True),
    "a price that is a list": line(price=[1]),
    "a price of NaN as text": line(price="NaN"),
    "a price of Infinity as text": line(price="Infinity"),
    "a price with an underscore": line(price="1_0"),
    "a price with blanks": line(price=" 1.00 "),
    "a price with foreign digits": line(price="١٢"),
    "a price too large to write down": line(price=10**20),
    "no price": body({"productName": "Soup", "quantity": 1}),
    "a free line without a name": body({"quantity": 1, "price": 1}),
    "a food line without a name": food(name=None),
    "a blank name": line(productName="  "),
    "a name that is a number": line(productName=7),
    "a name too long": line(productName="x" * 201),
    "an empty product id": line(productId=""),
    "an empty customer id": BY_CUSTOMER | {"customer_id": ""},
    "a customer id too long": BY_CUSTOMER | {"customer_id": "c" * 65},
    "a customer id that is a number": BY_CUSTOMER | {"customer_id": 123},
    "a customer id of null": BY_CUSTOMER | {"customer_id": None},
    "a location too long": BY_USER | {"deliveryLocation": "x" * 501},
    "details nested too deep": {
        "customer_id": "c",
        "order_details": BY_CUSTOMER["order_details"] | {"a": json.loads("[" * 20 + "]" * 20)},
    },
}


@pytest.mark.parametrize("given", NOT_VALID.values(), ids=NOT_VALID.keys())
def test_an_invalid_order_is_refused(alice: APIClient, given: Any) -> None:
    response = place(alice, given)
    assert response.status_code == 400
    assert code(response) == "request.invalid"
    assert response.json()["errors"]
    assert nothing_written()


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "half an object": b'{"userId": "u", "items": [',
    "NaN": b'{"userId": "u", "items": [{"productName": "x", "quantity": 1, "price": NaN}]}',
    "Infinity": b'{"userId": "u", "items": [{"productName": "x", "quantity": 1, "price": Infinity}]}',
    "a null character": b'{"userId": "u\\u0000", "items": []}',
    "half a surrogate pair": b'{"userId": "\\ud800", "items": []}',
    "no UTF-8": b'{"userId": "\xff"}',
    "nested too deep": b"[" * 30_000,
    "a number of 5,000 digits": b'{"userId": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("given", MALFORMED.values(), ids=MALFORMED.keys())
def test_invalid_json_is_refused(alice: APIClient, given: bytes) -> None:
    response = alice.post("/api/orders", given, content_type="application/json")
    assert response.status_code == 400
    assert code(response) in {"request.malformed", "request.invalid"}
    assert nothing_written()


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "1e2147483648"])
def test_extreme_numbers_are_refused_as_prices_and_as_details(alice: APIClient, number: str) -> None:
    as_price = '{"userId": "u", "items": [{"productName": "x", "quantity": 1, "price": NUMBER}]}'
    as_detail = (
        '{"customer_id": "u", "order_details": {"t": NUMBER, "foodItems": [{"name": "x", "price": 1, "quantity": 1}]}}'
    )
    texts = (text.replace("NUMBER", number) for text in (as_price, as_detail))
    responses = [alice.post("/api/orders", text, content_type="application/json") for text in texts]
    assert responses[0].status_code == 400
    assert responses[1].status_code == (202 if number == "1e-400" else 400)


def test_a_body_over_64_kilobytes_is_refused(alice: APIClient) -> None:
    response = place(alice, {"customer_id": "c", "order_details": {"note": "x" * 70_000}})
    assert response.status_code == 413
    assert code(response) == "request.too_large"
    assert nothing_written()


def test_an_unknown_product_is_refused(alice: APIClient) -> None:
    response = place(alice, BY_USER)
    assert response.status_code == 422
    assert code(response) == "order.unknown_product"
    assert response.json()["product_ids"] == ["product-guid"]
    assert nothing_written()


def test_a_product_that_is_off_the_menu_is_unknown(alice: APIClient, laptop: MenuItem) -> None:
    MenuItem.objects.update(is_active=False)
    assert code(place(alice, BY_USER)) == "order.unknown_product"


def test_another_price_than_the_menus_is_refused_with_the_right_one(alice: APIClient, laptop: MenuItem) -> None:
    response = place(alice, body({"productId": "product-guid", "quantity": 1, "price": 0.01}))
    assert response.status_code == 409
    assert code(response) == "order.price_changed"
    assert response.json()["current_prices"] == {"product-guid": "1299.99"}
    assert nothing_written()


def test_a_product_in_another_currency_is_refused(alice: APIClient, laptop: MenuItem) -> None:
    MenuItem.objects.update(currency="EUR")
    assert code(place(alice, BY_USER)) == "order.currency_mismatch"


def test_more_than_the_stock_is_refused_at_once(alice: APIClient, laptop: MenuItem) -> None:
    response = place(alice, laptops(11))
    assert response.status_code == 409
    assert code(response) == "order.out_of_stock"
    assert response.json()["items"] == [{"product_id": "product-guid", "name": "Laptop", "wanted": 11, "available": 10}]
    assert nothing_written()


def test_lines_of_one_product_are_counted_together(alice: APIClient, laptop: MenuItem) -> None:
    item = laptops(6)["items"][0]
    assert code(place(alice, body(item, item))) == "order.out_of_stock"


def test_an_unknown_payment_token_is_refused_at_once(alice: APIClient) -> None:
    response = place(alice, BY_CUSTOMER | {"payment_method": "pm_card_nonsense"})
    assert 400 <= response.status_code < 500
    assert code(response) == "payment.unknown_method"
    assert nothing_written()


def test_a_total_no_payment_can_carry_is_refused(alice: APIClient) -> None:
    response = place(alice, line(price="9999999999999999.99", quantity=99))
    assert response.status_code == 422
    assert code(response) == "order.total_too_large"
    assert nothing_written()


def test_an_order_of_nothing_but_gifts_is_refused(alice: APIClient) -> None:
    response = place(alice, line(price=0))
    assert response.status_code == 422
    assert code(response) == "order.nothing_to_pay"


def test_nobody_orders_without_signing_in(db: None) -> None:
    response = place(APIClient())
    assert response.status_code == 401
    assert code(response) == "auth.required"


def test_a_form_is_refused(alice: APIClient) -> None:
    response = alice.post("/api/orders", "a=1", content_type="application/x-www-form-urlencoded")
    assert response.status_code == 415
