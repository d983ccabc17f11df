"""Replays a saga's history through the state machine: the facts alone must lead to where its row stands.

Nothing is decided again and no option is read, so a history stays lawful when policies change.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sagas.definition.saga import Saga
from sagas.machine.state import Event, Row
from sagas.machine.transitions import Unlawful, apply, compensation_at, last_to_undo
from sagas.statuses import Action, Status

_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """Where a saga stands. The history records the first three after each commit."""

    status: str
    position: int
    epoch: int
    direction: str = ""
    phase: str = ""
    may_have_run: bool = False

    @property
    def short(self) -> Place:
        """As the history records it."""
        return Place(*self[:3])

    def __str__(self) -> str:
        place = f"{self.status} at {self.position}, epoch {self.epoch}"
        if not self.phase:
            return place
        return f"{place}, {self.direction} {self.phase}{', may have run' if self.may_have_run else ''}"


class Fact(NamedTuple):
    """What replay reads of an event. `saga_status`, `position` and `epoch` are the saga's after the event's commit,
    which may have written more events than this one."""

    seq: int
    action: str
    step: str
    status: str
    attempt: int
    saga_status: str
    position: int
    epoch: int

    @property
    def after(self) -> Place:
        return Place(self.saga_status, self.position, self.epoch)


def replay(saga: Saga, history: Sequence[Fact]) -> Place:
    """Where the history of a saga leads. Raises `Unlawful` for a fact that cannot have happened there."""
    row = _row_before_it_starts(saga)
    for index, fact in enumerate(history):
        _apply(row, saga, fact)
        is_end_of_commit = index + 1 == len(history) or history[index + 1].after != fact.after
        if is_end_of_commit and _place_of(row).short != fact.after:
            raise Unlawful(f"#{fact.seq} {fact.action} says {fact.after}; what led there, {_place_of(row).short}")
    return _place_of(row)


def _row_before_it_starts(saga: Saga) -> Row:
    return Row(
        id=uuid.UUID(int=0), name=saga.name, version=saga.version, key="", subject="", owner="", status=Status.STARTED,
        data={}, now=_SOME_TIME, created_at=_SOME_TIME,
    )  # fmt: skip


def _place_of(row: Row) -> Place:
    return Place(row.status.value, row.position, row.epoch, row.direction.value, row.phase.value, row.may_have_run)


def _apply(row: Row, saga: Saga, fact: Fact) -> None:
    try:
        action = Action(fact.action)
    except ValueError:
        raise Unlawful(f"#{fact.seq} {fact.action!r} is no action") from None
    try:
        _apply_what_older_releases_left_out(row, saga, fact)
        apply(row, saga, Event(action, fact.step, fact.status, attempt=fact.attempt))
    except Unlawful as error:
        raise Unlawful(f"#{fact.seq} {error}") from None
    row.seq += 1


def _apply_what_older_releases_left_out(row: Row, saga: Saga, fact: Fact) -> None:
    """Two things were no facts before release 0.2: that a first try was refused, and so certainly had no effect; and
    that a best effort which never answered was given up."""
    if fact.action == Action.COMPENSATION_STARTED and row.may_have_run and row.attempt == 1:
        row.may_have_run = fact.position == last_to_undo(saga, row.position)
    was_left_behind = fact.action in (Action.REDISPATCHED, Action.FINISHED) and fact.position < row.position
    if was_left_behind and row.is_open and row.is_going_back:
        compensation = compensation_at(saga, row.position)
        if compensation.is_best_effort:
            apply(row, saga, Event(Action.UNDO_FAILED, compensation.name, attempt=row.attempt))
