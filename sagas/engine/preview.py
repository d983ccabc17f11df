"""What cancelling a saga would do, found out by cancelling it inside a transaction that is then rolled back.

The owner of the subject may add what it would mean (which money moves); that is registered by saga name, because the
engine knows no subject. The `tag` names the state the answer holds for: sent back as `If-Match`, the cancellation
happens only if nothing moved meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sagas.definition import registry
from sagas.engine.commands import cancel, locked
from sagas.engine.dispatch import remaining
from sagas.errors import SagaMoved
from sagas.storage import storage

#: From a subject to further members of the preview; they count for the tag too.
Explain = Callable[[str], dict[str, Any]]
_explanations: dict[str, Explain] = {}


@dataclass(frozen=True)
class Preview:
    """`runs` names the tasks of the compensations that would run, in order; `status` is the saga's before."""

    saga_id: uuid.UUID
    status: str
    runs: list[str]
    details: dict[str, Any]
    tag: str


class _Seen(Exception):
    """Ends the transaction of a preview."""


def explain_cancellation(saga_name: str, explain: Explain) -> None:
    """Add `explain(subject)` to the previews of this saga's cancellation."""
    _explanations[saga_name] = explain


def preview(saga_id: uuid.UUID) -> Preview:
    """Raises what the cancellation itself would raise now."""
    found: list[Preview] = []
    try:
        with storage().atomic():
            found.append(_cancelled(saga_id))
            raise _Seen
    except _Seen:
        return found[0]


def _cancelled(saga_id: uuid.UUID) -> Preview:
    before = locked(saga_id)
    explain = _explanations.get(before.name)
    details = explain(before.subject) if explain is not None else {}
    state = [str(before.id), before.status.value, before.position, before.epoch, before.attempt, details]
    row = cancel(saga_id, reason_code="preview", reason="Preview", actor="")
    runs = [name for name, _ in remaining(row, registry.get(row.name, row.version))]
    tag = hashlib.sha256(json.dumps([state, runs], sort_keys=True, default=str).encode()).hexdigest()[:32]
    return Preview(saga_id, before.status.value, runs, details, tag)


def require_unchanged(saga_id: uuid.UUID, tag: str) -> None:
    """Inside the cancelling transaction: lock the saga, then compare. Raises `SagaMoved`."""
    locked(saga_id)
    if preview(saga_id).tag != tag:
        raise SagaMoved("The saga moved on after the preview.", saga_id=str(saga_id))
