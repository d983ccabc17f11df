"""What an invariant is to `manage.py verify`: a sentence, the rows it is about, and a search for what breaks it.

Each app states its own in a module `verify`. A search only reads, asks the database and not the code that wrote the
rows, and says nothing about what is merely under way: at every commit of a healthy system it finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import CharField, Func, QuerySet, UUIDField


@dataclass(frozen=True)
class Breach:
    """One thing that must never be: `subject` names the row (`order 0199…`), `detail` says what is wrong with it."""

    subject: str
    detail: str


@dataclass(frozen=True)
class Invariant:
    """`code` is the design's number (I5); several may share one. `of` names what `looks_at` counts; `advice` says what
    to do when `search` finds something."""

    code: str
    says: str
    of: str
    looks_at: QuerySet[Any]
    search: Callable[[], Iterable[Breach]]
    advice: str


Difference = tuple[tuple[Any, ...], Any, Any]


def differences(derived: QuerySet[Any], kept: QuerySet[Any]) -> Iterator[Difference]:
    """Compare two queries of `(key …, figure)` rows; yields `(key, derived figure, kept figure)` where they differ.

    A figure is None where that side has no such row. The database compares and sends the differences only.
    """
    derived, kept = derived.order_by(), kept.order_by()
    derived_only = {tuple(row[:-1]): row[-1] for row in derived.difference(kept)}
    kept_only = {tuple(row[:-1]): row[-1] for row in kept.difference(derived)}
    for key in sorted(derived_only.keys() | kept_only.keys(), key=str):
        yield key, derived_only.get(key), kept_only.get(key)


class UuidText(Func):
    """A UUID column as the text that other apps know it by, `str(uuid)`; SQLite keeps UUIDs as bare hex digits."""

    output_field = CharField()
    arity = 1
    template = "(%(expressions)s)::text"

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, Any]:
        hexadecimal, parameters = compiler.compile(self.source_expressions[0])
        parts = [f"substr({hexadecimal}, {start}, {length})" for start, length in _GROUPS]
        return " || '-' || ".join(parts), tuple(parameters) * len(parts)


class UuidOfText(Func):
    """The UUID that a text names, NULL if it names none: the other way round."""

    output_field = UUIDField()
    arity = 1

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        text, parameters = compiler.compile(self.source_expressions[0])
        return f"CASE WHEN {text} ~ %s THEN ({text})::uuid END", (*parameters, _UUID, *parameters)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="replace(%(expressions)s, '-', '')", **extra)


_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
#: First digit and length of the five groups of a UUID's hexadecimal digits.
_GROUPS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
