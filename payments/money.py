"""Exact money, for payments and for the apps above them. No binary floats.

An amount is a decimal with two places at the edges (API, order tables), a whole number of cents inside (sagas, payment
tables, provider), and its currency always stands beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

# Fits DECIMAL(18, 2), as the API documents amounts.
AMOUNT_PATTERN = re.compile(r"[0-9]{1,16}(\.[0-9]{1,2})?")


class NotMoney(ValueError):
    """The value is not an exact amount of money."""


@dataclass(frozen=True, order=False)
class Money:
    """Whole cents and their currency (ISO 4217). Raises NotMoney for cents that are not an int."""

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
        return cls(to_cents(Decimal(text)), currency)

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
            raise NotMoney(f"{self.currency} and {other.currency} cannot be added or subtracted.")


def to_cents(amount: Decimal) -> int:
    """Decimal("12.99") -> 1299. Raises NotMoney for a fraction of a cent."""
    cents = amount.scaleb(2)
    if cents != cents.to_integral_value():
        raise NotMoney(f"{amount} has a fraction of a cent.")
    return int(cents)


def from_cents(cents: int) -> Decimal:
    """1299 -> Decimal("12.99")."""
    return Decimal(cents).scaleb(-2)


def decimal_text(cents: int) -> str:
    """1299 -> "12.99", as the API shows amounts."""
    return f"{from_cents(cents):.2f}"
