"""What cancelling a saga would do, asked of the very code that would do it.

The saga is cancelled inside a transaction that is then rolled back. Whoever owns the subject may add what it would mean
(which money moves); that is registered by saga name, because the engine knows no subject. The `tag` names the state
the answer holds for: sent back as `If-Match`, the cancellation happens only if nothing moved meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from sagas.definition import registry
from sagas.engine import commands, dispatch
from sagas.errors import SagaMoved
from sagas.storage import rows

#: From a subject to further members of the preview; they count for the tag too.
Explain = Callable[[str], dict[str, Any]]
_explanations: dict[str, Explain] = {}


@dataclass(frozen=True)
class Preview:
    """`runs` names the compensations that would run, in order."""

    saga_id: uuid.UUID
    status: str
    runs: list[str]
    details: dict[str, Any]
    tag: str


def register(saga_name: str, explain: Explain) -> None:
    _explanations[saga_name] = explain


def preview(saga_id: uuid.UUID) -> Preview:
    """Raises whatever the cancellation itself would raise now."""
    with transaction.atomic():
        before = commands.locked(saga_id)
        explain = _explanations.get(before.name)
        details = explain(before.subject) if explain is not None else {}
        state = [str(before.id), before.status.value, before.position, before.epoch, before.attempt, details]
        row = commands.cancel(saga_id, reason_code="preview", reason="Preview", actor="")
        runs = [name for name, _ in dispatch.tail(row, registry.get(row.name, row.version))]
        transaction.set_rollback(True)
    tag = hashlib.sha256(json.dumps([state, runs], sort_keys=True, default=str).encode()).hexdigest()[:32]
    return Preview(saga_id, before.status.value, runs, details, tag)


def require_unchanged(saga_id: uuid.UUID, tag: str) -> None:
    """Inside the cancelling transaction: lock the saga, then compare. Raises `SagaMoved`."""
    rows.lock(saga_id)
    if preview(saga_id).tag != tag:
        raise SagaMoved("The saga moved on after the preview.", saga_id=str(saga_id))
