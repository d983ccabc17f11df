"""Requests with a card number are refused, wherever the number is."""

from __future__ import annotations

import json
import logging
import random
import uuid

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from payments.cards import holds_card_number, redact
from payments.middleware import CardNumberMiddleware

# The test numbers of https://docs.stripe.com/testing#cards
CARDS = [
    *("4242424242424242", "4000056655665556", "5555555555554444", "2223003122003222", "5200828282828210"),
    *("378282246310005", "371449635398431", "6011111111111117", "3056930009020004", "36227206271667"),
    *("3566002020360505", "6200000000000005", "6205500000000000004", "4000000000000002", "4000000000009995"),
]
PLACES = ["customer_id", "name", "location", "note", "path", "query", "header", "number", "key", "form"]
PLACEMENTS = 500


def written(card: str, style: int) -> str:
    if style == 0:
        return card
    separator = " " if style == 1 else "-"
    return separator.join(card[start : start + 4] for start in range(0, len(card), 4))


def request_with(text: str, place: str) -> HttpRequest:
    factory = RequestFactory()
    if place == "path":
        return factory.get(f"/api/users/{text}/payment-info")
    if place == "query":
        return factory.get("/api/payments", {"order_id": text})
    if place == "header":
        return factory.get("/api/payments", headers={"Idempotency-Key": text})
    if place == "form":
        return factory.post("/api/orders", {"note": text})
    value: object = {place: int(text)} if place == "number" and text.isdigit() else {place: f"card {text}, thanks"}
    body = {text: 1} if place == "key" else {"order_details": [value]}
    return factory.post("/api/orders", json.dumps(body), content_type="application/json")


def test_card_numbers_are_refused_in_every_place_and_never_repeated(caplog):
    caplog.set_level(logging.DEBUG)
    random_source = random.Random(11)
    reached: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        reached.append(request)
        return HttpResponse()

    for number in range(PLACEMENTS):
        card = written(random_source.choice(CARDS), number % 3)
        answer = CardNumberMiddleware(view)(request_with(card, PLACES[number % len(PLACES)]))
        assert answer.status_code == 422
        assert card.encode() not in answer.content
        assert card not in caplog.text
    assert reached == []


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424241",
        "1732111111111",
        str(uuid.UUID(int=0)),
        "2026-11-20T13:42:25.123456+00:00",
        "a4242424242424242",
        "0" * 16,
        "+49 170 1234567",
        "12.99",
    ],
)
def test_other_numbers_get_through(text):
    assert not holds_card_number(text)


def test_tokens_and_ids_get_through():
    random_source = random.Random(3)
    assert not holds_card_number("42424242-4242-4242-8000-000000000000")
    for _ in range(2000):
        order_id = uuid.UUID(int=random_source.getrandbits(128), version=4)
        assert not holds_card_number(f"/api/orders/{order_id}")
        assert not holds_card_number(random_source.randbytes(32).hex())


def test_a_log_line_is_cleaned():
    assert redact("paid with 4242 4242 4242 4242 today") == "paid with [card number removed] today"
    assert redact("order 1234567890123") == "order 1234567890123"
