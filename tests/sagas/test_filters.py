"""Filters of lists: what is found, and what is refused because it cannot be understood."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.http import QueryDict
from django_filters import rest_framework as filters

from sagas.engine import commands
from sagas.models import SagaInstance
from sagas.rest.serializers import SagaFilter
from sagas.statuses import Direction, Status
from sagas.testing import Runner
from tests.sagas.toy import SoldOut, Started, World

pytestmark = pytest.mark.django_db(transaction=True)

#: One saga of each kind, started at noon of the first days of 2026, in this order.
STATUSES = {
    "done": "COMPLETED",
    "undone": "COMPENSATED",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "running": "STARTED",
}
ALL = set(STATUSES)


@pytest.fixture(autouse=True)
def _sagas(transactional_db: None) -> None:
    with Runner() as runner:
        Started("done").start()
        runner.run_to_end()
        World.failures["cook"] = [SoldOut("no soup")]
        Started("undone").start()
        runner.run_to_end()
        Started("failed").start()
        runner.run_to_end()
        # As if it had had nothing to undo.
        SagaInstance.objects.filter(subject="failed").update(status=Status.FAILED, direction=Direction.BACK)
        cancelled = Started("cancelled").start()
        commands.cancel(cancelled.id, reason_code="other", reason="no", actor="ann")
        runner.run_to_end()
        Started("running").start()
    for day, subject in enumerate(STATUSES, start=1):
        moment = datetime(2026, 1, day, 12, tzinfo=UTC)
        SagaInstance.objects.filter(subject=subject).update(owner=f"owner of {subject}", created_at=moment)
    assert dict(SagaInstance.objects.values_list("subject", "status")) == STATUSES


def filtered(query: str) -> filters.FilterSet:
    return SagaFilter(QueryDict(query), queryset=SagaInstance.objects.all())


def found(query: str) -> set[str]:
    result = filtered(query)
    assert result.is_valid(), result.errors
    return {saga.subject for saga in result.qs}


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ("", ALL),
        ("unknown=parameter", ALL),
        ("status=completed", {"done"}),
        ("status=In-Progress", {"running"}),
        ("status=Completed&status=running", {"done", "running"}),
        ("status=COMPLETED,%20started,", {"done", "running"}),
        ("status=COMPENSATED", {"undone"}),
        ("status=", set()),
        ("name=toy", ALL),
        ("name=other", set()),
        ("order_id=done", {"done"}),
        ("order_id=done&order_id=failed", {"failed"}),
        ("owner=owner of failed", {"failed"}),
        ("since=2026-01-04T12:00:00Z", {"cancelled", "running"}),
        ("since=2026-01-04T13:00:00%2B02:00", {"cancelled", "running"}),
        ("until=2026-01-02T12:00:00Z", {"done"}),
        ("since=2026-01-02&until=2026-01-03", {"undone"}),
    ],
)
def test_what_a_query_finds(query: str, subjects: set[str]) -> None:
    assert found(query) == subjects


def test_failed_finds_every_saga_that_ended_because_a_step_failed() -> None:
    assert found("status=failed") == {"failed", "undone"}
    assert found("status=failed,cancelled") == {"failed", "undone", "cancelled"}


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("status=sleeping", "status", "invalid_choice"),
        ("status=COMPLETED&status=sleeping", "status", "invalid_choice"),
        ("name=", "name", "blank"),
        ("owner=%20", "owner", "blank"),
        ("since=", "since", "blank"),
        ("since=soon", "since", "invalid"),
        ("until=2026-13-01T00:00:00Z", "until", "invalid"),
        (f"name={'x' * 101}", "name", "max_length"),
        ("name=%00", "name", "null_characters_not_allowed"),
    ],
)
def test_what_cannot_be_understood_is_refused(query: str, field: str, code: str) -> None:
    errors = filtered(query).errors.as_data()
    assert {name: [error.code for error in found] for name, found in errors.items()} == {field: [code]}


def test_a_wrong_status_is_answered_with_the_right_ones() -> None:
    [message] = filtered("status=sleeping").errors["status"]
    assert message == f"'sleeping' is no status; use one of {', '.join(Status.values)}."
