"""The product's tables, as a whole."""

from __future__ import annotations

from django.apps import apps
from django.core.management.color import no_style
from django.db import connection

APPS = ("sagas", "orders", "payments", "timers")


def tables() -> list[str]:
    """Those of all rooms, by name."""
    return [model._meta.db_table for app in APPS for model in apps.get_app_config(app).get_models()]


def empty_tables() -> None:
    """Leave no row in them, past all triggers."""
    statements = connection.ops.sql_flush(no_style(), tables(), allow_cascade=True)
    connection.ops.execute_sql_flush(statements)
