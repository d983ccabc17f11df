"""The five steps as the engine's local steps."""

from __future__ import annotations

from django.db import connection

from benchmarks.order5 import work
from sagas.errors import Refusal


class StepRefused(Refusal):
    code = "bench.refused"


def _do(order_id: str, step: int) -> None:
    with connection.cursor() as cursor:
        work.do(cursor, order_id, step)


def _undo(order_id: str, step: int) -> None:
    with connection.cursor() as cursor:
        work.undo(cursor, order_id, step)


def first(*, order_id: str) -> None:
    _do(order_id, 1)


def second(*, order_id: str) -> None:
    _do(order_id, 2)


def third(*, order_id: str) -> None:
    _do(order_id, 3)


def fourth(*, order_id: str, is_refused: bool) -> None:
    if is_refused:
        raise StepRefused("Refused.")
    _do(order_id, 4)


def fifth(*, order_id: str) -> None:
    _do(order_id, 5)


def undo_first(*, order_id: str) -> None:
    _undo(order_id, 1)


def undo_second(*, order_id: str) -> None:
    _undo(order_id, 2)


def undo_third(*, order_id: str) -> None:
    _undo(order_id, 3)


def undo_fourth(*, order_id: str) -> None:
    _undo(order_id, 4)
