"""Which types a saga may keep: those that JSON gives back as they were."""

from __future__ import annotations

import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

import pytest

from sagas.definition.checks import check_definition
from sagas.definition.saga import Saga
from sagas.definition.values import misfits


@dataclass(frozen=True)
class Seat:
    row: int


class Size(enum.StrEnum):
    SMALL = "small"


class Point(NamedTuple):
    x: int


class Line(TypedDict):
    name: str
    tags: NotRequired[list[Line]]


class Priced(TypedDict):
    price: Decimal


BookingId = NewType("BookingId", str)
EventId = NewType("EventId", uuid.UUID)


@dataclass(frozen=True)
class Trip:
    seat: str
    departs_at: datetime


def look_up(*, seat: str) -> Priced:
    return {"price": Decimal(len(seat))}


FIT = [
    str, int, float, bool, None, Any, list, dict, str | None, list[str], list[dict[str, Any]], dict[str, list[int]],
    Sequence[str], Mapping[str, float], Literal["window", "aisle", 3], Line, list[Line], BookingId,
]  # fmt: skip
MISFIT = {
    datetime: "isoformat", date: "isoformat", timedelta: "seconds", Decimal: "cents", uuid.UUID: "str", bytes: "base64",
    set[str]: "list", frozenset[int]: "list", tuple[int, ...]: "list", Seat: "TypedDict", list[Seat]: "TypedDict",
    Size: "plain value", Point: "list", Priced: "cents", list[datetime]: "isoformat", str | Decimal: "cents",
    dict[str, uuid.UUID]: "str", dict[int, str]: "keys", EventId: "str", Path: "str", complex: "TypedDict",
}  # fmt: skip


@pytest.mark.parametrize("kind", FIT, ids=str)
def test_what_json_gives_back_as_it_was_may_be_kept(kind: Any) -> None:
    assert list(misfits(kind)) == []


@pytest.mark.parametrize("kind", MISFIT, ids=str)
def test_what_json_cannot_hold_is_named_with_what_to_use(kind: Any) -> None:
    [(_, advice)] = misfits(kind)
    assert MISFIT[kind] in advice


def test_an_enum_of_strings_would_come_back_as_a_string() -> None:
    """Why it is refused although JSON takes it."""
    assert type(json.loads(json.dumps(Size.SMALL))) is str


def test_the_check_names_the_field_and_the_step() -> None:
    found = check_definition(Saga("trip", takes=Trip).read(look_up))
    assert [problem.id for problem in found] == ["sagas.E011", "sagas.E011"]
    assert [problem.msg for problem in found] == [
        "trip takes departs_at: datetime, and JSON cannot hold it.",
        "trip: look_up returns price: Decimal, and JSON cannot hold it.",
    ]
