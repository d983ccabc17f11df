"""A saga as others see it: its state and its history, rendered from the rows."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sagas.conf import options
from sagas.definition import registry
from sagas.models import SagaEvent, SagaInstance
from sagas.statuses import GOING_BACK, Action, Status

#: Facts that only matter to the engine; shown to staff, left out of the customer's view.
INTERNAL = (Action.REDISPATCHED, Action.STEP_CLAIMED, Action.UNDO_CLAIMED, Action.STEP_FENCED, Action.UNDO_FENCED)


def current_step(saga: SagaInstance) -> str | None:
    """The step being done, or undone, now; None when the saga is finished."""
    if saga.status not in (Status.STARTED, *GOING_BACK, Status.NEEDS_ATTENTION):
        return None
    definition = registry.find(saga.name, saga.version)
    if definition is None or not 0 <= saga.position < len(definition.steps):
        return None
    step = definition.steps[saga.position]
    is_going_back = saga.status in GOING_BACK or saga.resume_status in GOING_BACK
    return step.compensation.name if is_going_back and step.compensation else step.name


def waiting_reason(saga: SagaInstance) -> str | None:
    """Why a saga that has no error does not go on."""
    return f"held: {saga.held_by}" if saga.held_by else None


def next_auto_retry_at(saga: SagaInstance) -> datetime | None:
    """When a saga that needs attention is retried by itself, unless an operator settles it before."""
    is_due = saga.status == Status.NEEDS_ATTENTION and options().auto_retry_delays
    return saga.retry_at if is_due else None


def events_of(saga_id: uuid.UUID, *, include_internal: bool = False) -> list[SagaEvent]:
    events = SagaEvent.objects.filter(saga_id=saga_id).order_by("seq")
    return list(events if include_internal else events.exclude(action__in=INTERNAL))


def entry(event: SagaEvent) -> dict[str, Any]:
    """One line of the history: {step, status, message, timestamp, action, attempt, actor}."""
    return {
        "step": event.step or "saga",
        "status": event.status,
        "message": event.message,
        "timestamp": event.created_at,
        "action": event.action,
        "attempt": event.attempt or None,
        "actor": event.actor or None,
    }


def saga_view(saga: SagaInstance) -> dict[str, Any]:
    """The complete state of a saga, without its history."""
    given = saga.data["input"]
    return {
        "id": str(saga.id),
        "saga_id": str(saga.id),
        "name": saga.name,
        "version": saga.version,
        "status": saga.status,
        "current_step": current_step(saga),
        **{name: given.get(name) for name in options().shown_input},
        "subject": saga.subject,
        "owner": saga.owner,
        "attempt": saga.attempt,
        "reason_code": saga.reason_code or None,
        "reason": saga.reason or None,
        "error": saga.error or None,
        "next_try_at": saga.wake_at,
        "waiting_reason": waiting_reason(saga),
        "next_auto_retry_at": next_auto_retry_at(saga),
        "deadline_at": saga.deadline_at,
        "created_at": saga.created_at,
        "updated_at": saga.updated_at,
        "completed_at": saga.finished_at,
    }
