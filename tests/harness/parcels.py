"""A saga in two versions for two releases: the old release has the first version only, the new one has both."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.contrib.auth.models import Group

from sagas.definition.saga import Saga, minutes, seconds


@dataclass(frozen=True)
class Parcel:
    parcel_id: str


def _write(parcel_id: str, name: str) -> None:
    Group.objects.create(name=f"{parcel_id} {name}")


def pack(*, parcel_id: str) -> None:
    _write(parcel_id, "pack")


def unpack(*, parcel_id: str) -> None:
    _write(parcel_id, "unpack")


def book_van(*, parcel_id: str, idempotency_key: str) -> None:
    """Remote, and slow, so that both releases find sagas that are half done."""
    time.sleep(0.2)


def cancel_van(*, parcel_id: str) -> None:
    """Remote."""


def weigh(*, parcel_id: str) -> None:
    _write(parcel_id, "weigh")


def ship(*, parcel_id: str) -> None:
    _write(parcel_id, "ship")


def _saga(version: int) -> Saga:
    saga = Saga("parcel", takes=Parcel, deadline=minutes(5), version=version)
    return saga.step(pack, compensate=unpack).call(book_van, compensate=cancel_van, timeout=seconds(4))


first = _saga(1).pivot(ship)
second = _saga(2).read(weigh).pivot(ship)
RELEASES = {"old": (first,), "new": (first, second)}
#: The rows each version writes.
EFFECTS = {1: ["pack", "ship"], 2: ["pack", "weigh", "ship"]}
