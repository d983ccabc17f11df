"""The database's clock as an expression for queries. A test that moves the engine's clock moves this one too."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Expression
from django.db.models.functions import Now

from sagas import clock_offset


def database_now(plus: timedelta = timedelta(0)) -> Expression:
    """The time of the statement, `plus` a duration, in UTC."""
    shift = clock_offset() + plus
    return Now() + shift if shift else Now()
