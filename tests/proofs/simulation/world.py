"""What a simulation stands on: the database's clock stopped, so that only the simulation moves it, and empty tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from django.db import connection

from sagas.definition import registry
from sagas.storage import clock, rows
from tests.proofs.simulation.fixtures import JOURNEYS, create_effects_table

#: The moment at which every simulation begins, as SQLite writes it.
BEGINNING = "'2026-03-01 12:00:00.000'"


@contextmanager
def stopped_clock() -> Iterator[None]:
    with (
        clock.moved(),
        mock.patch.object(rows, "_clock", return_value=BEGINNING),
        mock.patch.object(rows, "recent_now", rows.now),
    ):
        yield


@contextmanager
def prepared() -> Iterator[None]:
    """The journeys are known and nothing is logged; around any number of simulations."""
    logger = logging.getLogger("sagas")
    was_disabled, logger.disabled = logger.disabled, True
    registry.register(*JOURNEYS)
    create_effects_table()
    try:
        yield
    finally:
        empty_tables()
        for saga in JOURNEYS:
            registry.unregister(saga)
        logger.disabled = was_disabled


def empty_tables() -> None:
    with connection.cursor() as cursor:
        for table in ("sagas_sagaevent", "sagas_sagainstance", "sagas_sagahold", "sagas_sagadependency", "effect"):
            cursor.execute(f"DELETE FROM {table}")
