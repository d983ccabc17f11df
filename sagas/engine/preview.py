"""What cancelling or starting a saga would do, found out by doing it inside a transaction that is then rolled back.

The owner of the subject may add what it would mean (which money moves); that is registered by saga name, because the
engine knows no subject. The `tag` names the state the answer holds for: sent back as `If-Match`, the request is carried
out only if nothing moved meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sagas.definition import registry
from sagas.definition.saga import Saga
from sagas.engine.commands import cancel, locked, start
from sagas.engine.dispatch import remaining
from sagas.errors import SagaMoved
from sagas.ids import uuid7
from sagas.machine.state import Row
from sagas.storage import storage

#: From a subject to further members of the preview; they count for the tag too.
Explain = Callable[[str], dict[str, Any]]
_explanations: dict[str, Explain] = {}


@dataclass(frozen=True)
class Preview:
    """`runs` names the tasks that would run, in order; `status` is the saga's before, empty if it would be started."""

    saga_id: uuid.UUID
    status: str
    runs: list[str]
    details: dict[str, Any]
    tag: str


class _Seen(Exception):
    """Ends the transaction of a preview."""


def explain_in_previews(saga_name: str, explain: Explain) -> None:
    """Add `explain(subject)` to the previews of this saga."""
    _explanations[saga_name] = explain


def preview(saga_id: uuid.UUID) -> Preview:
    """What cancelling the saga would do. Raises what the cancellation itself would raise now."""

    def work() -> Preview:
        before = locked(saga_id)
        return _previewed(before, lambda: cancel(saga_id, reason_code="preview", reason="Preview", actor=""))

    return _rolled_back(work)


def preview_start(saga: Saga, *, input: Any, subject: str) -> Preview:  # noqa: A002
    """What starting a saga would do. Raises what its first step would raise now."""

    def begin() -> Row:
        return start(saga, input=input, key=f"preview:{uuid7()}", subject=subject)

    return _rolled_back(lambda: _previewed(None, begin, name=saga.name, subject=subject))


def require_unchanged(saga_id: uuid.UUID, tag: str) -> None:
    """Inside the cancelling transaction: lock the saga, then compare. Raises `SagaMoved`."""
    locked(saga_id)
    if preview(saga_id).tag != tag:
        raise SagaMoved("The saga moved on after the preview.", saga_id=str(saga_id))


def _previewed(before: Row | None, act: Callable[[], Row], *, name: str = "", subject: str = "") -> Preview:
    name, subject = (before.name, before.subject) if before is not None else (name, subject)
    explain = _explanations.get(name)
    details = explain(subject) if explain is not None else {}
    sagas = [
        [str(row.id), row.status.value, row.position, row.epoch, row.attempt] for row in storage().of_subject(subject)
    ]
    row = act()
    runs = [task for task, _ in remaining(row, registry.get(row.name, row.version))]
    tag = hashlib.sha256(json.dumps([sagas, details, runs], sort_keys=True, default=str).encode()).hexdigest()[:32]
    return Preview(row.id, before.status.value if before is not None else "", runs, details, tag)


def _rolled_back(work: Callable[[], Preview]) -> Preview:
    found: list[Preview] = []
    try:
        with storage().atomic():
            found.append(work())
            raise _Seen
    except _Seen:
        return found[0]
