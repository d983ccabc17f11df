"""Money is exact: parsed from text, kept as whole cents, and never a float."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.money import Money, NotMoney, decimal_text, from_cents, to_cents

ROOT = Path(__file__).resolve().parents[2]
# Times are floats, in seconds. A line with a float must contain one of these names.
TIME_NAMES = ("seconds", "timeout", "deadline", "_SECONDS", "wait", "sleep")


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_text_and_cents_are_one_and_the_same(cents):
    assert Money.parse(decimal_text(cents), "USD").cents == cents


@given(st.decimals(min_value=0, max_value=10**10, places=2))
def test_every_amount_with_two_decimals_is_taken_exactly(amount):
    assert Money.parse(f"{amount:.2f}", "USD").cents == int(amount * 100)


@given(st.integers(min_value=-(10**17), max_value=10**17))
def test_decimals_and_cents_are_one_and_the_same(cents):
    assert to_cents(from_cents(cents)) == cents


def test_a_decimal_made_of_cents_has_two_places():
    assert str(from_cents(0)) == decimal_text(0) == "0.00"
    assert str(from_cents(1290)) == decimal_text(1290) == "12.90"
    assert from_cents(1) == Decimal("0.01")


@pytest.mark.parametrize("amount", ["0.001", "12.999", "-0.005", "NaN"])
def test_a_fraction_of_a_cent_is_refused(amount):
    with pytest.raises(NotMoney):
        to_cents(Decimal(amount))


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.999", "1e3", "NaN", "Infinity", "1,00", " 1", "1.", ".5", "٣"])
def test_an_invalid_amount_is_refused(text):
    with pytest.raises(NotMoney):
        Money.parse(text, "USD")


def test_currencies_do_not_mix():
    assert str(Money(1299, "USD") + Money(1, "USD")) == "13.00"
    assert str(Money(1, "USD") - Money(2, "USD")) == "-0.01"
    with pytest.raises(NotMoney):
        Money(1, "USD") + Money(1, "EUR")


@pytest.mark.parametrize("cents", [1.0, Decimal(1), "1", True])
def test_cents_are_whole_numbers(cents):
    with pytest.raises(NotMoney):
        Money(cents, "USD")


def sources() -> list[Path]:
    folders = (ROOT / "payments", ROOT / "orders")
    return [path for folder in folders for path in folder.rglob("*.py") if "migrations" not in path.parts]


def floats_in(path: Path) -> list[str]:
    """Every float in this file that is not a time: literals, names and model fields."""
    text = path.read_text()
    lines = text.splitlines()
    found = []
    for node in ast.walk(ast.parse(text)):
        is_literal = isinstance(node, ast.Constant) and type(node.value) is float
        is_name = isinstance(node, ast.Name) and node.id == "float"
        is_model_field = isinstance(node, ast.Attribute) and node.attr == "FloatField"
        if not (is_literal or is_name or is_model_field):
            continue
        line = lines[node.lineno - 1]
        if not any(name in line for name in TIME_NAMES) and "isinstance" not in line:
            found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {line.strip()}")
    return found


def test_no_money_is_ever_a_float():
    assert [place for path in sources() for place in floats_in(path)] == []
