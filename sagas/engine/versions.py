"""What a deploy would strand: sagas keep the version they started with, so the code to be deployed must still know it.

Each definition is kept in the database as it was when first seen. What counts is what a saga under way relies on: its
input, its steps, what they take and return, and their undos. Policies (retries, timeouts, deadlines) may change freely.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q

from sagas.definition import registry
from sagas.definition.saga import Saga, Step, StepFunction, parameter_types, result_types
from sagas.models import SagaDefinition, SagaInstance
from sagas.statuses import FINAL, GOING_BACK, Status
from sagas.storage import storage

logger = logging.getLogger("sagas")

#: A saga completed this recently may still be cancelled, and then its steps are undone.
CANCELLABLE_FOR = timedelta(days=1)
Version = tuple[str, int]


@dataclass(frozen=True)
class Stranded:
    """Why sagas of one definition would not go on after the deploy, and what to do."""

    name: str
    version: int
    sagas: int
    why: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name} v{self.version}: {self.why}\n  {self.sagas} sagas may still move. {self.advice}"


# -- remembering ----------------------------------------------------------------------------------------------------
_is_recorded = False


def record_once() -> None:
    """Called by the sweep, so that every process that works also tells what it knows."""
    global _is_recorded  # noqa: PLW0603 - once a process
    if not _is_recorded:
        record()
        _is_recorded = True


def record() -> None:
    """Keep each definition as it is now, unless it is known already and sagas rely on how it was."""
    now = storage().now()
    here = [
        SagaDefinition(
            name=saga.name, version=saga.version, shape=shape(saga), digest=digest(shape(saga)), first_seen_at=now
        )
        for saga in registry.all_definitions()
    ]
    SagaDefinition.objects.bulk_create(here, ignore_conflicts=True)
    relied_on = _counts()
    for definition in here:
        kept = SagaDefinition.objects.filter(name=definition.name, version=definition.version)
        changed = kept.exclude(digest=definition.digest)
        if (definition.name, definition.version) not in relied_on:
            changed.update(shape=definition.shape, digest=definition.digest, first_seen_at=now)
        elif changed.exists():
            log_extra = {"action": "definition_changed", "saga": definition.name, "version": definition.version}
            message = "%s v%s was changed, and sagas under way rely on how it was: `manage.py sagas deploycheck`"
            logger.error(message, definition.name, definition.version, extra=log_extra)


def shape(saga: Saga) -> dict[str, Any]:
    """What sagas under way rely on, as plain values."""
    return {
        "input": {name: getattr(kind, "__name__", str(kind)) for name, kind in saga.input_types.items()},
        "steps": [_step(step) for step in saga.steps],
    }


def _step(step: Step) -> dict[str, Any]:
    undo = step.compensation
    return {
        "step": step.task_name,
        "kind": step.kind.value,
        "is_pivot": step.is_pivot,
        "takes": _names(step.function),
        "returns": sorted(result_types(step.function)),
        "undo": undo.task_name if undo else None,
        "undo_takes": _names(undo.function) if undo else [],
        "undo_is_best_effort": bool(undo and undo.is_best_effort),
    }


def _names(function: StepFunction) -> list[str]:
    return sorted(parameter_types(function))


def digest(shape: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


# -- checking -------------------------------------------------------------------------------------------------------
def stranded() -> list[Stranded]:
    """Everything the code of this process would strand in this database; empty when the deploy is safe."""
    kept = {(seen.name, seen.version): seen for seen in SagaDefinition.objects.all()}
    return [
        found
        for (name, version), sagas in sorted(_counts().items())
        for found in _stranded(name, version, sagas, kept.get((name, version)))
    ]


def _stranded(name: str, version: int, sagas: int, kept: SagaDefinition | None) -> Iterator[Stranded]:
    saga = registry.find(name, version)
    if saga is None:
        advice = (
            f"Keep it registered beside the new version until they have ended: register({name}_v{version}, {name})."
        )
        yield Stranded(name, version, sagas, "this code does not know it.", advice)
        return
    advice = f"Leave version {version} as it was, and write the change as version {version + 1} beside it."
    changes = _changes(kept.shape, shape(saga)) if kept is not None and kept.digest != digest(shape(saga)) else []
    if changes:
        yield Stranded(name, version, sagas, f"the table changed, the version did not: {'; '.join(changes)}.", advice)
    for position, is_back, count in _places(name, version):
        if why := _missing(saga, position, is_back=is_back, kept=kept):
            yield Stranded(name, version, count, why, advice)


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """In words, what is no longer as it was."""
    changes = ["its input"] if before["input"] != after["input"] else []
    was, now = before["steps"], after["steps"]
    if len(was) != len(now):
        changes.append(f"{len(was)} steps became {len(now)}")
    for number, (old, new) in enumerate(zip(was, now, strict=False), start=1):
        if old["step"] != new["step"]:
            changes.append(f"step {number} was {old['step']} and is {new['step']}")
        elif old != new:
            differing = sorted(key for key in old if old[key] != new.get(key))
            changes.append(f"step {number} ({old['step']}) differs in {', '.join(differing)}")
    return changes


def _missing(saga: Saga, position: int, *, is_back: bool, kept: SagaDefinition | None) -> str:
    """Why a saga could not go on from this position; empty if it can."""
    side = "undo" if is_back else "step"
    was = kept.shape["steps"][position][side] if kept is not None and position < len(kept.shape["steps"]) else None
    now = _step(saga.steps[position])[side] if position < len(saga.steps) else None
    if now is None or (was is not None and was != now):
        return f"they stand at step {position + 1} ({was or 'unknown'}), which is {now or 'gone'}."
    return ""


def _may_still_move() -> Q:
    is_recent = Q(status=Status.COMPLETED, created_at__gte=storage().now() - CANCELLABLE_FOR)
    return ~Q(status__in=FINAL) | is_recent


def _counts() -> dict[Version, int]:
    sagas = SagaInstance.objects.filter(_may_still_move()).values_list("name", "version").annotate(Count("id"))
    return {(name, version): count for name, version, count in sagas.order_by("name", "version")}


def _places(name: str, version: int) -> list[tuple[int, bool, int]]:
    """Where its open sagas stand: position, whether they go back, and how many.

    Before a deploy the table may lack the newest columns, so the direction is read off the statuses.
    """
    is_back = Q(status__in=GOING_BACK) | Q(resume_status__in=GOING_BACK)
    sagas = SagaInstance.objects.exclude(status__in=FINAL).filter(name=name, version=version)
    places = []
    for back, chosen in ((False, sagas.exclude(is_back)), (True, sagas.filter(is_back))):
        counted = chosen.values_list("position").annotate(Count("id")).order_by("position")
        places += [(position, back, count) for position, count in counted]
    return places
