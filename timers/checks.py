"""System checks: a timer without a handler is found before anything runs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from timers.registry import handler_of


@register("timers")
def acceptance_event_has_a_handler(*_: Any, **__: Any) -> list[CheckMessage]:
    event_type = settings.ORDER_ACCEPTANCE_EVENT
    if handler_of(event_type) is not None:
        return []
    hint = "Register one with timers.registry.register() in the ready() of the app that owns the event."
    return [Error(f"No handler is registered for timer events of type {event_type!r}.", hint=hint, id="timers.E001")]
