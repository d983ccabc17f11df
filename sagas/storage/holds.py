"""Holds and failure counts in their tables. They change rarely, so the ORM writes them."""

from __future__ import annotations

import dataclasses
from abc import ABC

from django.db import connection

from sagas.models import SagaDependency, SagaHold
from sagas.storage.base import Failures, Hold, Storage

_HELD_COUNTS = (
    "SELECT held_by, COUNT(*) FROM sagas_sagainstance WHERE NOT (held_by = '') GROUP BY held_by ORDER BY held_by"
)
_FIELDS = tuple(field.name for field in dataclasses.fields(Hold))


class HoldTables(Storage, ABC):
    """The part of a database's storage that keeps holds."""

    def held_counts(self) -> dict[str, int]:
        with connection.cursor() as cursor:
            cursor.execute(_HELD_COUNTS, [])
            return dict(cursor.fetchall())

    def active_holds(self) -> list[Hold]:
        return [hold_of(row) for row in SagaHold.objects.filter(released_at=None).order_by("dependency")]

    def active_hold(self, dependency: str, *, lock: bool = False) -> Hold | None:
        holds = SagaHold.objects.filter(dependency=dependency, released_at=None)
        row = (holds.select_for_update() if lock else holds).first()
        return hold_of(row) if row is not None else None

    def last_hold(self, dependency: str) -> Hold | None:
        row = SagaHold.objects.filter(dependency=dependency).order_by("-held_at", "-pk").first()
        return hold_of(row) if row is not None else None

    def add_hold(self, hold: Hold) -> Hold:
        values = {name: getattr(hold, name) for name in _FIELDS if name != "id"}
        return dataclasses.replace(hold, id=SagaHold.objects.create(**values).pk)

    def save_hold(self, hold: Hold) -> None:
        values = {name: getattr(hold, name) for name in _FIELDS if name != "id"}
        SagaHold.objects.filter(pk=hold.id).update(**values)

    def lock_failures(self, dependency: str) -> Failures:
        none_yet = {"failures": 0, "first_failure_at": self.now()}
        row, _ = SagaDependency.objects.select_for_update().get_or_create(name=dependency, defaults=none_yet)
        return Failures(dependency, row.failures, row.first_failure_at)

    def save_failures(self, failures: Failures) -> None:
        SagaDependency.objects.filter(name=failures.dependency).update(
            failures=failures.in_a_row, first_failure_at=failures.since
        )

    def failing(self) -> frozenset[str]:
        return frozenset(SagaDependency.objects.filter(failures__gt=0).values_list("name", flat=True))


def hold_of(row: SagaHold) -> Hold:
    """A row of the table as the engine's record."""
    return Hold(**{name: getattr(row, name) for name in _FIELDS})
