"""Where timers live: under `/api/`, at the bare paths of older clients, with and without a trailing slash."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path

from timers.api import views


def everywhere(route: str, view: Any, name: str) -> list[URLPattern]:
    documented = path(f"api/{route}", view.as_view(), name=name)
    aliases = (f"api/{route}/", route, f"{route}/")
    return [documented, *(path(alias, view.as_view(schema=None)) for alias in aliases)]


urlpatterns = [
    *everywhere("schedule", views.Schedule, "schedule"),
    *everywhere("events", views.Events, "events"),
    *everywhere("events/<str:event_id>", views.OneEvent, "event"),
    *everywhere("events/<str:event_id>/cancel", views.CancelEvent, "event-cancel"),
    *everywhere("timers/for-cancellation", views.ForCancellation, "timers-for-cancellation"),
]
