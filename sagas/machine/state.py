"""A saga's row in memory while the engine works on it, and the facts about to be added to its history."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sagas.statuses import OPEN, SUSPENDED, Action, Direction, Phase, Status


@dataclass(slots=True)
class Event:
    """A fact about a saga. `type` is the name it is published under; empty if it concerns only the engine."""

    action: Action
    step: str = ""
    status: str = ""
    message: str = ""
    type: str = ""
    payload: dict[str, Any] | None = None
    actor: str = ""
    attempt: int = 0


@dataclass(slots=True)
class Row:
    """The columns of `SagaInstance`, read under its lock. `now` is the database's clock at that moment, in UTC.

    `data` is `{"input": the definition's input, "results": {step: what it returned}}`. `may_have_run` says that an
    earlier try of the call at `position` ended without a known answer. `actor` is who cancelled the saga.
    `pending_events` are appended to the history when the row is saved. `is_data_changed` and `stored` tell the storage
    what it need not write again.
    """

    id: uuid.UUID
    name: str
    version: int
    key: str
    subject: str
    owner: str
    status: Status
    data: dict[str, Any]
    now: datetime
    created_at: datetime
    direction: Direction = Direction.FORWARD
    phase: Phase = Phase.READY
    may_have_run: bool = False
    resume_status: str = ""
    position: int = 0
    epoch: int = 1
    attempt: int = 0
    dispatches: int = 0
    seq: int = 0
    reason_code: str = ""
    reason: str = ""
    actor: str = ""
    error: str = ""
    cancel_key: str = ""
    lease_token: int | None = None
    lease_until: datetime | None = None
    wake_at: datetime | None = None
    deadline_at: datetime | None = None
    held_by: str = ""
    held_since: datetime | None = None
    retry_at: datetime | None = None
    auto_retries: int = 0
    finished_at: datetime | None = None
    pending_events: list[Event] = field(default_factory=list)
    is_data_changed: bool = False
    stored: tuple[Any, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def is_going_back(self) -> bool:
        return self.direction is Direction.BACK

    @property
    def is_leased(self) -> bool:
        """Whether a call is in flight and its worker may still record the answer."""
        return self.lease_until is not None and self.lease_until > self.now

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a retry, or is suspended; a message or a `link_error` call does not send it on."""
        return self.phase is Phase.RETRYING or self.phase in SUSPENDED

    @property
    def has_own_call(self) -> bool:
        """Whether the call in flight is the one at `position`, not one made before the saga changed direction."""
        return self.phase is Phase.RUNNING and self.attempt > 0

    @property
    def input(self) -> dict[str, Any]:
        return self.data["input"]  # type: ignore[no-any-return]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """What the completed steps returned, by step name. Add to it with `keep_result`."""
        return self.data.setdefault("results", {})  # type: ignore[no-any-return]

    def keep_result(self, step: str, result: dict[str, Any]) -> None:
        self.results[step] = result
        self.is_data_changed = True
