"""The Celery app of the plain chain, with Celery's defaults. `SOAK_ACKS=late` acknowledges messages after the task."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("plain", broker=os.environ.get("BROKER_URL"), include=["benchmarks.soak.plain.tasks"])
app.conf.task_acks_late = os.environ.get("SOAK_ACKS") == "late"
app.conf.task_ignore_result = True
