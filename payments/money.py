"""Exact money: decimals at the edges, whole cents inside, the currency always beside them. No binary floats."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

# Fits DECIMAL(18, 2), as the API documents amounts.
AMOUNT_PATTERN = re.compile(r"[0-9]{1,16}(\.[0-9]{1,2})?")


class NotMoney(ValueError):
    """The text is no exact amount of money."""


@dataclass(frozen=True, order=False)
class Money:
    cents: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.cents) is not int:
            raise NotMoney(f"{self.cents!r} is not a whole number of cents.")

    @classmethod
    def parse(cls, text: str, currency: str) -> Money:
        """Read "12.99" (or "12", "12.9"). Raises NotMoney for signs, exponents, NaN and fractions of a cent."""
        if not AMOUNT_PATTERN.fullmatch(text):
            raise NotMoney(f"{text!r} is not an amount with at most two decimals.")
        return cls(int(Decimal(text).scaleb(2)), currency)

    def __add__(self, other: Money) -> Money:
        self._require_same_currency(other)
        return Money(self.cents + other.cents, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._require_same_currency(other)
        return Money(self.cents - other.cents, self.currency)

    def __str__(self) -> str:
        return decimal_text(self.cents)

    def _require_same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise NotMoney(f"{self.currency} and {other.currency} do not add up.")


def decimal_text(cents: int) -> str:
    """1299 -> "12.99"."""
    return f"{Decimal(cents).scaleb(-2):.2f}"
