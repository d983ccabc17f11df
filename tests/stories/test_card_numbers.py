"""Sends 500 card numbers in every field, header and query: none is stored, logged or returned."""

from __future__ import annotations

import io
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import CharField, JSONField, TextField
from rest_framework.test import APIClient

from campusg import logs
from tests.orders import builders
from tests.payments.test_cards import CARDS, written

pytestmark = pytest.mark.django_db(transaction=True)
PLACEMENTS = 500


def order(**changes: object) -> dict[str, object]:
    return {
        "customer_id": "ann",
        "order_details": {"foodItems": [{"name": "Soup", "price": 5, "quantity": 1}]},
    } | changes


def placements(card: str) -> list[tuple[str, str, dict[str, object] | None, dict[str, str]]]:
    """One request (method, address, body, headers) for each place that can hold a card number."""
    food = {"name": card, "price": 5, "quantity": 1}
    return [
        ("post", "/api/orders", order(customer_id=card), {}),
        ("post", "/api/orders", order(order_details={"foodItems": [food]}), {}),
        ("post", "/api/orders", order(order_details={**order()["order_details"], "deliveryLocation": card}), {}),
        ("post", "/api/orders", order(order_details={**order()["order_details"], "note": f"card {card}!"}), {}),
        ("post", "/api/orders", order(order_details={**order()["order_details"], "deep": [{"er": [card]}]}), {}),
        ("post", "/api/orders", order(payment_method=card), {}),
        ("post", "/api/orders", order(**{card: "as a key"}), {}),
        ("post", "/api/orders", order(), {"Idempotency-Key": card}),
        ("post", "/api/orders", order(), {"User-Agent": f"curl {card}"}),
        ("post", "/api/orders", order(), {"X-Request-ID": card}),
        ("post", "/api/orders", {"userId": "ann", "items": [{"productName": card, "quantity": 1, "price": 5}]}, {}),
        ("get", f"/api/orders/user/{card}", None, {}),
        ("get", f"/api/orders/{card}", None, {}),
        ("get", f"/api/sagas?order_id={card}", None, {}),
        ("get", f"/api/sagas/{card}", None, {}),
        ("get", f"/api/payments?order_id={card}", None, {}),
        ("get", f"/api/users/{card}/payment-info", None, {}),
        ("get", f"/nowhere/{card}", None, {}),
        ("post", "/api/payments/authorize", {"order_id": card, "amount": "5.00", "payment_method": card}, {}),
        ("post", "/api/schedule", {"event_type": card, "entity_id": card, "payload": {"note": card}}, {}),
        ("post", f"/api/sagas/{card}/cancel", {"reason": card}, {}),
        ("post", "/admin/login/", {"username": card, "password": card}, {}),
    ]


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Everything that is logged, formatted as in production, at every level."""
    output = io.StringIO()
    formatter = logs.config(level="DEBUG", style="json")["formatters"]["default"]
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter["()"](**{name: value for name, value in formatter.items() if name != "()"}))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield output
    finally:
        root.removeHandler(handler)


def all_text_in_the_database() -> str:
    pieces = []
    for model in apps.get_models():
        names = [f.name for f in model._meta.concrete_fields if isinstance(f, CharField | TextField | JSONField)]
        if names and model._meta.db_table in connection.introspection.table_names():
            pieces += [str(row) for row in model._default_manager.values_list(*names)]
    return "\n".join(pieces)


def send(api: APIClient, card: str, number: int) -> str:
    places = placements(card)
    method, address, body, headers = places[number % len(places)]
    kind = {"format": "multipart"} if address.startswith("/admin") else {}
    answer = getattr(api, method)(address, body, headers=headers, **kind)
    assert 400 <= answer.status_code < 500, (address, answer.status_code)
    return answer.content.decode() + str(answer.headers)


def test_five_hundred_card_numbers_leave_no_trace() -> None:
    chance = random.Random(7)
    api = builders.client("ann", role="customer")
    numbers = [written(chance.choice(CARDS), number % 3) for number in range(PLACEMENTS)]
    with everything_logged() as log:
        returned = "".join(send(api, card, number) for number, card in enumerate(numbers))
    kept = all_text_in_the_database()
    found = {where: sum(card in text for card in numbers)
             for where, text in (("responses", returned), ("log", log.getvalue()), ("database", kept))}  # fmt: skip
    assert found == {"responses": 0, "log": 0, "database": 0}


def test_the_search_of_the_test_itself_finds_a_number(caplog: pytest.LogCaptureFixture) -> None:
    builders.client("4242424242424242", role="customer")
    assert "4242424242424242" in all_text_in_the_database()
    assert "payments.middleware.CardNumberMiddleware" in settings.MIDDLEWARE
