"""Timers are read here; a timer whose attempts ran out can be tried again."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from sagas.rest.readonly_admin import ReadOnlyAdmin
from timers import services
from timers.models import ScheduledEvent


@admin.register(ScheduledEvent)
class ScheduledEventAdmin(ReadOnlyAdmin):
    list_display = ("event_type", "entity_id", "status", "scheduled_at", "due_at", "attempts")
    list_filter = ("status", "event_type", "scheduled_at")
    search_fields = ("=id", "=entity_id")
    search_help_text = "Event id or the id of the entity it watches"
    actions = ("ring_again",)

    @admin.action(description="Try again (attempts ran out)", permissions=["view"])
    def ring_again(self, request: HttpRequest, events: QuerySet[ScheduledEvent]) -> None:
        count = services.ring_again(event_ids=[str(event.pk) for event in events])
        messages.success(request, f"{count} will be tried with the next sweep; the others have attempts left.")
