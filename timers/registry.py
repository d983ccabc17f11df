"""Who acts when an alarm goes off: one handler per event type, registered by the app above at start-up.

A handler runs inside the transaction that marks its event FIRED. It may write to the database and must leave the
outside world alone, so that both commit or neither does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Handler = Callable[[str, dict[str, Any]], None]

_handlers: dict[str, Handler] = {}


def register(event_type: str, handler: Handler) -> None:
    """Let `handler(entity_id, payload)` act on `event_type`. Two different handlers for one type are a mistake."""
    if _handlers.get(event_type, handler) is not handler:
        raise ValueError(f"Event type {event_type!r} already has a handler: {_handlers[event_type]!r}")
    _handlers[event_type] = handler


def handler_of(event_type: str) -> Handler | None:
    return _handlers.get(event_type)


def event_types() -> list[str]:
    return sorted(_handlers)


def unregister(event_type: str) -> None:
    """Forget a handler; for tests that register one of their own."""
    _handlers.pop(event_type, None)
