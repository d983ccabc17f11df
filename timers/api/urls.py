"""Where timers live, below `/api/` and for older clients without it."""

from __future__ import annotations

from sagas.rest.routes import both
from timers.api import views

urlpatterns = [
    *both("schedule", views.Schedule, "schedule"),
    *both("events", views.Events, "events"),
    *both("events/<str:event_id>", views.OneEvent, "event"),
    *both("events/<str:event_id>/cancel", views.CancelEvent, "event-cancel"),
    *both("timers/for-cancellation", views.ForCancellation, "timers-for-cancellation"),
]
