"""Which types may a saga keep? Those that come back from JSON as they went in: input and results are stored as JSON."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from sagas.definition.saga import type_hints

_PLAIN = {str, int, float, bool, None, type(None), Any, object, list, dict}
_LISTS = (list, collections.abc.Sequence)
_DICTS = (dict, collections.abc.Mapping)
_KEYS = {str, Any}

_ANYTHING_ELSE = "Use str, int, float, bool, None, a list or dict of these, or a TypedDict."
#: What to use instead, by the type or a base of it; the first that fits counts.
_INSTEAD: dict[type, str] = {
    datetime: "Use str, with isoformat() and datetime.fromisoformat().",
    date: "Use str, with isoformat() and date.fromisoformat().",
    time: "Use str, with isoformat() and time.fromisoformat().",
    timedelta: "Use float, in seconds.",
    Decimal: "Use str, or int in the smallest unit, such as cents.",
    UUID: "Use str.",
    PurePath: "Use str.",
    enum.Enum: "Use str: a step would get the plain value and no member of the enum.",
    set: "Use list.",
    frozenset: "Use list.",
    tuple: "Use list: a step would get a list.",
    bytes: "Use str, in base64.",
}


def misfits(kind: Any) -> Iterator[tuple[Any, str]]:
    """The parts of an annotation that JSON cannot hold, each with what to use instead."""
    yield from _misfits(kind, set())


def _misfits(kind: Any, seen: set[Any]) -> Iterator[tuple[Any, str]]:
    kind = _resolved(kind)
    if kind in _PLAIN or kind in seen or isinstance(kind, typing.TypeVar):
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType) or origin in _LISTS:
        parts: Any = arguments
    elif origin in _DICTS:
        parts = arguments[1:]
        if _resolved(arguments[0]) not in _KEYS:
            yield kind, "Use str for the keys: JSON has no others."
    elif origin is typing.Literal:
        parts = {type(value) for value in arguments}
    elif typing.is_typeddict(kind):
        parts = type_hints(kind).values()
    else:
        yield kind, _instead(origin or kind)
        return
    for part in parts:
        yield from _misfits(part, seen | {kind})


def _resolved(kind: Any) -> Any:
    """What a `NewType` or a type alias stands for."""
    while found := getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None):
        kind = found
    return kind


def _instead(kind: Any) -> str:
    if dataclasses.is_dataclass(kind):
        return "Use a TypedDict: a dataclass inside the input is stored as a dict, and a step would get the dict."
    if not isinstance(kind, type):
        return _ANYTHING_ELSE
    return next((advice for known, advice in _INSTEAD.items() if issubclass(kind, known)), _ANYTHING_ELSE)
