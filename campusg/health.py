"""Is this process alive (`/livez`), and can it do its work (`/readyz`)?

Without the database no request can be answered. Without the broker orders are still taken and continue later, so
`/readyz` says `degraded` with status 200: taking the web processes out of service would turn a delay into an outage.
The same holds for events that are late.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu import Connection
from kombu.exceptions import OperationalError

import sagas

logger = logging.getLogger(__name__)

OK = "ok"
#: Checks without which work can still be taken.
DISPENSABLE = {"broker", "events"}
BROKER_TIMEOUT_SECONDS = 2


class NotReady(Exception):
    """One of the things a process needs is missing; the message says which and why."""


@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    results = {name: _outcome(check) for name, check in CHECKS.items()}
    failing = {name for name, result in results.items() if result != OK}
    is_ready = failing <= DISPENSABLE
    status = OK if not failing else "degraded" if is_ready else "unavailable"
    return JsonResponse({"status": status, "checks": results}, status=200 if is_ready else 503)


def check_database() -> None:
    try:
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        raise NotReady("the database does not answer") from error


def check_migrations() -> None:
    """Applied migrations stay applied, so a process that has seen them all need not look again."""
    try:
        _require_migrations()
    except DatabaseError as error:
        raise NotReady("the database does not answer") from error


@functools.cache
def _require_migrations() -> None:
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise NotReady("there are migrations to apply")


def check_broker() -> None:
    if settings.EMBEDDED:
        return
    try:
        with Connection(settings.CELERY_BROKER_URL, connect_timeout=BROKER_TIMEOUT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    except (OperationalError, OSError) as error:
        raise NotReady("the broker does not answer") from error


def check_events() -> None:
    """Whether what is committed is also published, and soon."""
    try:
        age = sagas.oldest_unpublished_age()
    except DatabaseError as error:
        raise NotReady("the database does not answer") from error
    if age > sagas.options().backlog_patience:
        raise NotReady(f"the oldest unpublished event has waited for {age.total_seconds():.0f} s")


CHECKS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "migrations": check_migrations,
    "broker": check_broker,
    "events": check_events,
}


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except NotReady as error:
        logger.warning("Not ready: %s", error, extra={"action": "not_ready", "cause": repr(error.__cause__)})
        return str(error)
    return OK
