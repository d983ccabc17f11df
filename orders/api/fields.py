"""Fields that take a value exactly as it was written, or refuse it."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from orders.models import CUSTOMER_ID_LENGTH

MAX_NOTE_DEPTH = 8
# More digits than any price has: a longer number is refused before it is parsed.
_PRICE = re.compile(r"[0-9]{1,16}(\.[0-9]+)?([eE][+]?[0-9]{1,2})?")


class TextField(serializers.CharField):
    """Text only: a number or a boolean is refused and not converted."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class CustomerIdField(TextField):
    """An opaque label of at most 64 characters, such as `cust_123`."""

    def __init__(self, **kwargs: Any) -> None:
        options: dict[str, Any] = {"max_length": CUSTOMER_ID_LENGTH, "help_text": "An opaque label."}
        super().__init__(**(options | kwargs))


class QuantityField(serializers.IntegerField):
    """A whole number, written as one: neither `1.0` nor `"1"` nor `true`."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return int(super().to_internal_value(data))


class PriceField(serializers.DecimalField):
    """An exact amount of money, as a JSON number or as text, with at most two decimals and no sign."""

    default_error_messages = {"negative": "A price is not negative."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**({"max_digits": 18, "decimal_places": 2} | kwargs))

    def to_internal_value(self, data: Any) -> Decimal:
        text = str(data)
        if isinstance(data, bool) or not isinstance(data, int | float | str):
            self.fail("invalid")
        if text.startswith("-"):
            self.fail("negative")
        if not _PRICE.fullmatch(text):
            self.fail("invalid")
        amount: Decimal = super().to_internal_value(text)
        return amount


def require_storable(value: Any, depth: int = 0) -> None:
    """Refuse free-form JSON that is nested too deeply or holds a number that JSON cannot express (infinity)."""
    if depth > MAX_NOTE_DEPTH:
        raise serializers.ValidationError(f"Nested deeper than {MAX_NOTE_DEPTH} levels.", code="too_deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise serializers.ValidationError("A number is too large.", code="too_large")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        require_storable(child, depth + 1)
