"""The product's own settings with shorter waits, for processes that are killed on purpose."""

from __future__ import annotations

import os
from datetime import timedelta

from campusg.settings import *  # noqa: F403 - the usual way to extend a settings module
from campusg.settings import INSTALLED_APPS as PRODUCT_APPS
from campusg.settings import SAGAS as PRODUCT_OPTIONS
from sagas.definition.saga import Retry


def _given(name: str, default: float) -> float:
    return float(os.environ.get(name, default))


INSTALLED_APPS = [*PRODUCT_APPS, "tests.harness.apps.Chaos"]
STALL = timedelta(seconds=_given("CHAOS_STALL_SECONDS", 6))
LONGEST_WAIT = timedelta(seconds=3)
FIRST_WAIT = timedelta(seconds=0.5)
SAGAS = PRODUCT_OPTIONS | {
    "STALL": STALL,
    "LONGEST_STALL": 2 * STALL,
    "LEASE_GRACE": timedelta(seconds=1),
    "RETRY": Retry(retries=int(_given("CHAOS_RETRIES", 6)), first=FIRST_WAIT, longest=LONGEST_WAIT),
    "UNDO_RETRY": Retry(retries=int(_given("CHAOS_UNDO_RETRIES", 20)), first=FIRST_WAIT, longest=LONGEST_WAIT),
    "MAX_DISPATCHES": 30,
    # The faults of a test are not an outage of the provider.
    "BREAKER_FAILURES": int(_given("CHAOS_BREAKER_FAILURES", 0)),
}
CELERY_TASK_TIME_LIMIT = _given("CHAOS_TASK_TIME_LIMIT", 60)
CELERY_TASK_SOFT_TIME_LIMIT = _given("CHAOS_TASK_SOFT_TIME_LIMIT", 0) or None
