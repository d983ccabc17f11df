"""The words for where a saga stands and for what happens to it.

Standard library only; the models build choices of them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Self


class LabelledType(enum.EnumMeta):
    """`values` and `choices` of all members, named as Django names them on its own choices."""

    @property
    def values(cls) -> list[str]:
        return [value for value, _ in cls.choices]

    @property
    def choices(cls) -> list[tuple[str, str]]:
        members: Mapping[str, Labelled] = cls.__members__
        return [(member.value, member.label) for member in members.values()]


class Labelled(enum.StrEnum, metaclass=LabelledType):
    """A word that is stored, with a label for people: `NAME = "stored", "Label"`. Without one, the word itself."""

    label: str

    def __new__(cls, value: str, label: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label or value.replace("_", " ").capitalize()
        return member


class Status(Labelled):
    """What the world sees of a saga. The README draws each status and what leads out of it."""

    STARTED = "STARTED"
    COMPLETED = "COMPLETED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"


#: Statuses in which the engine itself has something to do next.
OPEN = (Status.STARTED, Status.COMPENSATING, Status.CANCELLING)
#: Statuses in which completed steps are being undone.
GOING_BACK = (Status.COMPENSATING, Status.CANCELLING)
FINAL = (Status.COMPLETED, Status.COMPENSATED, Status.CANCELLED, Status.FAILED)
#: Something may still happen to the saga, by itself or by an operator.
UNSETTLED = (*OPEN, Status.NEEDS_ATTENTION)


class Direction(Labelled):
    """Which way a saga goes; a saga that ended, the way it went last."""

    FORWARD = "FORWARD"
    BACK = "BACK"


class Phase(Labelled):
    """What a saga does at its position now.

    READY      its next step or compensation can run; a message is on its way, or the sweep sends one
    RUNNING    a call is in flight: claimed, leased and not recorded yet
    RETRYING   a try failed; the sweep starts the next one at `wake_at`
    HELD       it waits until the dependency it needs is no longer on hold
    PARKED     the engine gave up; an operator, or `retry_at`, sends it on
    DONE       it has ended
    """

    READY = "READY"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    HELD = "HELD"
    PARKED = "PARKED"
    DONE = "DONE"


#: Phases that the sweep does not end: a saga stays there until something else sends it on.
SUSPENDED = frozenset({Phase.HELD})


class Action(Labelled):
    """What happened: one word per fact, used in the history, in logs and in metrics."""

    STARTED = "saga_started", "Saga started"
    STEP_CLAIMED = "step_claimed", "Step claimed"
    STEP_COMPLETED = "step_completed", "Step completed"
    STEP_RETRYING = "step_retrying", "Step will be retried"
    STEP_FAILED = "step_failed", "Step failed"
    STEP_REFUSED = "step_refused", "Step refused"
    STEP_TIMED_OUT = "step_timed_out", "Step timed out"
    STEP_FENCED = "step_fenced", "Late result kept"
    COMPENSATION_STARTED = "compensation_started", "Going back"
    CANCELLATION_STARTED = "cancellation_started", "Cancelling"
    UNDO_CLAIMED = "undo_claimed", "Compensation claimed"
    UNDO_COMPLETED = "undo_completed", "Compensation completed"
    UNDO_RETRYING = "undo_retrying", "Compensation will be retried"
    UNDO_FAILED = "undo_failed", "Compensation failed"
    UNDO_TIMED_OUT = "undo_timed_out", "Compensation timed out"
    UNDO_FENCED = "undo_fenced", "Late compensation result kept"
    REDISPATCHED = "redriven", "Sent again"
    PARKED = "parked", "Needs attention"
    RETRIED = "retried", "Retried by an operator"
    SKIPPED = "skipped", "Skipped by an operator"
    CLOSED = "closed", "Closed by an operator"
    HELD = "held", "Held"
    HOLD_ENDED = "let_go", "No longer held"
    AUTO_RETRIED = "auto_retried", "Retried automatically"
    FINISHED = "finished", "Finished"


#: Names of other dialects for our statuses; letter case and separators never matter.
_ALIASES = {"INPROGRESS": Status.STARTED, "RUNNING": Status.STARTED}


def parse_status(text: str) -> Status:
    """A status in any letter case, with or without separators; `InProgress` is STARTED. Raises `ValueError`."""
    plain = "".join(character for character in text.upper() if character.isalnum())
    known = {status.value.replace("_", ""): status for status in Status} | _ALIASES
    if plain not in known:
        raise ValueError(text)
    return known[plain]
