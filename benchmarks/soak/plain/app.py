"""The Celery app of the plain chain: Celery's own settings, but for when a message is acknowledged."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("plain", broker=os.environ.get("BROKER_URL"), include=["benchmarks.soak.plain.tasks"])
app.conf.task_acks_late = os.environ.get("SOAK_ACKS") == "late"
app.conf.task_ignore_result = True
