"""Settings that cannot work, or that nobody should run with, reported by `manage.py check`.

campusg.E001  the acceptance window is shorter than the saga deadline
campusg.E002  a sweep is missing from the beat schedule
campusg.E003  an in-process broker named in BROKER_URL
campusg.E004  SQLite together with a real broker
campusg.E005  a real broker without Stripe, and the sandbox was not asked for
campusg.E006  the money settings cannot be read
campusg.E007  psycopg 3 is installed and would silently replace psycopg2
campusg.E008  stock is kept for a shorter time than an order's saga may take
campusg.E009  a setting is given under the name that it had before
campusg.W001  DEBUG outside of embedded mode
campusg.W002  the sweep of sagas comes less often than every minute
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

REQUIRED_BEAT_ENTRIES = ("sagas.sweep", "sagas.relay", "timers.sweep")
LONGEST_SWEEP_SECONDS = 60
#: Environment variables of a release before, and their names today.
RENAMED = {"CAMPUSG_RUN_AHEAD": "CAMPUSG_RUN_INLINE", "CAMPUSG_BREAKER_TROUBLES": "CAMPUSG_BREAKER_FAILURES"}


def register_checks() -> None:
    register(check_settings, "campusg")


def check_settings(**_: Any) -> list[CheckMessage]:
    return [*_check_times(), *_check_services(), *_check_money(), *_check_database_driver(), *_check_names()]


def _check_times() -> Iterator[CheckMessage]:
    from orders import inventory  # models are not loaded when this module is

    if settings.ORDER_ACCEPTANCE_WINDOW < settings.SAGA_DEADLINE:
        yield Error(
            "The acceptance window is shorter than the saga deadline.",
            hint="Raise CAMPUSG_ACCEPTANCE_WINDOW_SECONDS or lower CAMPUSG_SAGA_DEADLINE_SECONDS.",
            id="campusg.E001",
        )
    if settings.SAGA_DEADLINE >= inventory.RESERVATION_WINDOW:
        yield Error(
            f"Stock is kept for {inventory.RESERVATION_WINDOW}, and the saga deadline is not shorter.",
            hint="Lower CAMPUSG_SAGA_DEADLINE_SECONDS; an order would lose its food while it is still being paid.",
            id="campusg.E008",
        )
    for name in REQUIRED_BEAT_ENTRIES:
        if name not in settings.CELERY_BEAT_SCHEDULE:
            yield Error(f"The beat schedule lacks {name}.", hint="Restore it in settings.", id="campusg.E002")
    if settings.SAGA_SWEEP_SECONDS > LONGEST_SWEEP_SECONDS:
        yield Warning(
            f"Lost messages are made good only every {settings.SAGA_SWEEP_SECONDS:g} s.",
            hint="Lower CAMPUSG_SAGA_SWEEP_SECONDS.",
            id="campusg.W002",
        )


def _check_services() -> Iterator[CheckMessage]:
    if settings.EMBEDDED:
        return
    if settings.BROKER_URL.startswith("memory:"):
        yield Error(
            "BROKER_URL names a broker inside one process; separate processes cannot share it.",
            hint="Unset BROKER_URL for embedded mode, or name a RabbitMQ.",
            id="campusg.E003",
        )
    if settings.IS_SQLITE:
        yield Error(
            "SQLite cannot serve several processes on several hosts.",
            hint="Set DATABASE_URL to a PostgreSQL, or unset BROKER_URL.",
            id="campusg.E004",
        )
    if not settings.STRIPE_API_KEY and not settings.IS_SANDBOX_ALLOWED:
        yield Error(
            "There is no payment provider: no card would ever be charged.",
            hint="Set STRIPE_API_KEY, or CAMPUSG_ALLOW_SANDBOX_PAYMENTS=1 to try things out.",
            id="campusg.E005",
        )
    if settings.DEBUG:
        yield Warning("DEBUG shows internals to callers.", hint="Unset CAMPUSG_DEBUG.", id="campusg.W001")


def _check_money() -> Iterator[CheckMessage]:
    try:
        fee = Decimal(settings.DELIVERY_FEE)
    except InvalidOperation:
        fee = Decimal("NaN")
    if not fee.is_finite() or fee < 0 or fee != fee.quantize(Decimal("0.01")):
        yield Error(
            f"The delivery fee {settings.DELIVERY_FEE!r} is no amount of money.",
            hint="Set CAMPUSG_DELIVERY_FEE to something like 2.50.",
            id="campusg.E006",
        )
    if not re.fullmatch("[A-Z]{3}", settings.CURRENCY):
        yield Error(
            f"{settings.CURRENCY!r} is no currency.",
            hint="Set CAMPUSG_CURRENCY to an ISO 4217 code such as USD.",
            id="campusg.E006",
        )


def _check_database_driver() -> Iterator[CheckMessage]:
    if settings.IS_SQLITE:
        return
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if is_psycopg3:
        yield Error(
            "psycopg 3 is installed and Django prefers it; everything here was tested with psycopg2.",
            hint="pip uninstall psycopg",
            id="campusg.E007",
        )


def _check_names() -> Iterator[CheckMessage]:
    """Both names may be set: a deploy runs the release before beside this one, with the same environment."""
    for old, new in RENAMED.items():
        if old in os.environ and new not in os.environ:
            yield Error(f"{old} has no effect: it is called {new} now.", hint=f"Set {new} as well.", id="campusg.E009")
