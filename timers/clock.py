"""The database's clock as an expression for queries, moved along with the engine's when a test moves that."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Expression
from django.db.models.functions import Now

from sagas.storage import clock


def database_now(plus: timedelta = timedelta(0)) -> Expression:
    """The moment of the statement, `plus` a duration, in UTC."""
    shift = clock.offset() + plus
    return Now() + shift if shift else Now()
