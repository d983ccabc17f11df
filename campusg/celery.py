"""The Celery app. Its settings are the `CELERY_…` names in `campusg.settings`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery, signals

from campusg.launch import heartbeat
from campusg.topology import DeclareTopology

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")

app = Celery("campusg")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["consumer"].add(DeclareTopology)
app.autodiscover_tasks()
# Threads of a pool look tasks up in the default app; without this they would publish to amqp://localhost.
app.set_default()

if beating := os.environ.get(heartbeat.VARIABLE):
    heartbeat.connect(Path(beating))


@signals.task_prerun.connect
def drop_dead_database_connections(**_: Any) -> None:
    """Keep the database connection between tasks, but not one that has died.

    Celery's Django support would close it around every task (five times slower); `CELERY_DB_REUSE_MAX` turns that
    off, and this puts back the one part that is needed.
    """
    from django.db import close_old_connections

    close_old_connections()


@signals.setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Being connected is enough: Celery then leaves the root logger as the settings made it."""
