"""The admin shows timers. One that has used up its attempts can be fired again."""

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
    search_help_text = "Event id, or the id of the entity it is about"
    actions = ("fire_again",)

    @admin.action(description="Fire again (if all attempts are used up)", permissions=["view"])
    def fire_again(self, request: HttpRequest, events: QuerySet[ScheduledEvent]) -> None:
        count = services.fire_again(event_ids=[str(event.pk) for event in events])
        messages.success(request, f"{count} will fire with the next sweep; the others still have attempts left.")
