"""Book a seat: one local step, its undo, and a claim that refuses to cancel a seat that is taken."""

from __future__ import annotations

from dataclasses import dataclass

from sagas.definition import registry
from sagas.definition.saga import Saga, minutes
from sagas.errors import Refusal

TAKEN = "taken"


class SeatTaken(Refusal):
    code = "bookings.seat_taken"


@dataclass(frozen=True)
class Booking:
    seat: str


def reserve_seat(*, seat: str) -> None: ...


def free_seat(*, seat: str) -> None: ...


def confirm(*, seat: str) -> None: ...


def claim(subject: str) -> None:
    if subject == TAKEN:
        raise SeatTaken("Somebody sits there.")


book_seat = (
    Saga("book_seat", takes=Booking, deadline=minutes(5), on_cancel=claim)
    .step(reserve_seat, compensate=free_seat)
    .pivot(confirm)
)
registry.register(book_seat)
