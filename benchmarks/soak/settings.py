"""The settings of the chaos tests, with the app of the soak and, for the oracle, the payment provider's ledger."""

from __future__ import annotations

import os
from datetime import timedelta

from tests.harness.settings import *  # noqa: F403 - the usual way to extend a settings module
from tests.harness.settings import DATABASES as PRODUCT_DATABASES
from tests.harness.settings import INSTALLED_APPS as CHAOS_APPS
from tests.harness.settings import SAGAS as CHAOS_OPTIONS

#: Before the chaos app, so that this app shortens the calls of the second release too.
INSTALLED_APPS = [*CHAOS_APPS[:-1], "benchmarks.soak.apps.Soak", CHAOS_APPS[-1]]
#: The provider is down for seconds and not for hours, so sagas that wait for it try again after seconds.
SAGAS = CHAOS_OPTIONS | {
    "BREAKER_PROBE": timedelta(seconds=2),
    "BREAKER_LONGEST_PROBE": timedelta(seconds=8),
    "AUTO_RETRY_DELAYS": tuple(timedelta(seconds=seconds) for seconds in (5, 5, 10, 20, 40)),
}
PROVIDER_LEDGER = os.environ.get("SOAK_PROVIDER_LEDGER", "")
DATABASES = PRODUCT_DATABASES | (
    {
        "provider": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": PROVIDER_LEDGER,
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        }
    }
    if PROVIDER_LEDGER
    else {}
)
