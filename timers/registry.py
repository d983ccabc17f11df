"""What happens when a timer fires: one handler for each event type, registered at start-up by the app that owns it.

A handler runs inside the transaction that marks its timer FIRED, so that both commit or neither does. It may write to
the database and must not call anything outside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Handler = Callable[[str, dict[str, Any]], None]

_handlers: dict[str, Handler] = {}


def register(event_type: str, handler: Handler) -> None:
    """Call `handler(entity_id, payload)` when a timer of this type fires. Raises ValueError for a second handler."""
    if _handlers.get(event_type, handler) is not handler:
        raise ValueError(f"Event type {event_type!r} already has a handler: {_handlers[event_type]!r}")
    _handlers[event_type] = handler


def handler_of(event_type: str) -> Handler | None:
    """None if nothing handles this type."""
    return _handlers.get(event_type)


def event_types() -> list[str]:
    return sorted(_handlers)


def unregister(event_type: str) -> None:
    """Remove a handler, for tests that register their own."""
    _handlers.pop(event_type, None)
