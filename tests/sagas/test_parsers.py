"""Request bodies: bounded, strict and exact."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pytest
from rest_framework import serializers
from rest_framework.exceptions import ParseError

from sagas.rest.parsers import BodyTooLarge, BoundedJSONParser, parse_json


def test_a_price_keeps_every_digit_it_was_written_with() -> None:
    price = parse_json(b'{"price": 1299.990000000000000001}')["price"]
    field = serializers.DecimalField(max_digits=40, decimal_places=18)
    assert field.to_internal_value(price) == Decimal("1299.990000000000000001")


def test_a_number_goes_back_into_json_as_a_number() -> None:
    assert json.dumps(parse_json(b'{"tip": 2.50}')) == '{"tip": 2.5}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"\xff\xfe",
        b'"\\u0000"',
        b'{"a": ["\\ud800"]}',
        b'{"a\\u0000": 1}',
        b"[" * 30_000,
        b"1" * 5_000,
    ],
    ids=lambda body: body[:12],
)
def test_what_is_not_json_or_cannot_be_stored_is_malformed(body: bytes) -> None:
    with pytest.raises(ParseError):
        parse_json(body)


def test_a_body_over_the_limit_is_refused_unread(settings) -> None:
    settings.API_MAX_BODY_BYTES = 10
    with pytest.raises(BodyTooLarge):
        BoundedJSONParser().parse(io.BytesIO(b'"' + b"a" * 20))


def test_a_body_of_exactly_the_limit_is_read(settings) -> None:
    settings.API_MAX_BODY_BYTES = 10
    assert BoundedJSONParser().parse(io.BytesIO(b'"12345678"')) == "12345678"
