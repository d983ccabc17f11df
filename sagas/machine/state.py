"""A saga's row in memory while the engine works on it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sagas.models import GOING_BACK, OPEN, Action, Status


@dataclass(slots=True)
class Event:
    """A fact about to be appended to the history."""

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
    """The columns of `SagaInstance`, read under its lock. `now` is the database's clock at that moment, in UTC."""

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
    resume_status: str = ""
    position: int = 0
    epoch: int = 1
    attempt: int = 0
    drives: int = 0
    seq: int = 0
    reason_code: str = ""
    reason: str = ""
    error: str = ""
    lease_token: int | None = None
    lease_until: datetime | None = None
    wake_at: datetime | None = None
    deadline_at: datetime | None = None
    held_by: str = ""
    held_since: datetime | None = None
    retry_at: datetime | None = None
    auto_retries: int = 0
    finished_at: datetime | None = None
    news: list[Event] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def is_going_back(self) -> bool:
        return self.status in GOING_BACK

    @property
    def is_leased(self) -> bool:
        return self.lease_until is not None and self.lease_until > self.now

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a retry, or for what is on hold; the sweep starts it when the time has come."""
        is_retrying = self.attempt > 0 and self.lease_token is None and self.drives == 0
        return self.is_open and (is_retrying or self.is_held)

    @property
    def is_held(self) -> bool:
        return bool(self.held_by)

    @property
    def input(self) -> dict[str, Any]:
        return self.data["input"]  # type: ignore[no-any-return]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """What the completed steps returned, by step name."""
        return self.data.setdefault("results", {})  # type: ignore[no-any-return]

    def note(self, event: Event) -> None:
        self.news.append(event)
