"""The admin shows timers. One that has used up its attempts can be fired again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from timers import services
from timers.models import ScheduledEvent


@admin.register(ScheduledEvent)
class ScheduledEventAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("event_type", "entity_id", "status", "scheduled_at", "due_at", "attempts")
    list_filter = ("status", "event_type", "scheduled_at")
    search_fields = ("=id", "=entity_id")
    search_help_text = "Event id, or the id of the entity it is about"
    actions = ("fire_again",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description="Fire again (if all attempts are used up)", permissions=["view"])
    def fire_again(self, request: HttpRequest, events: QuerySet[ScheduledEvent]) -> None:
        count = services.fire_again(event_ids=[str(event.pk) for event in events])
        messages.success(request, f"{count} will fire with the next sweep; the others still have attempts left.")
