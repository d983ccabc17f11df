"""What the timers API reads and writes."""

from __future__ import annotations

from django_filters import rest_framework as filters
from rest_framework import serializers

from sagas.rest.bodies import StrictSerializer
from sagas.rest.filters import MomentFilter, StatusFilter, TextFilter
from timers.models import EventStatus, ScheduledEvent


class ScheduleRequest(StrictSerializer):
    """A timer to set."""

    event_type = serializers.CharField(max_length=100, help_text="One of the types that have a handler.")
    entity_id = serializers.CharField(max_length=100, help_text="What the timer is about, such as an order id.")
    scheduled_at = serializers.DateTimeField(help_text="A moment in the future, with its offset from UTC.")
    payload = serializers.DictField(required=False, default=dict, help_text="At most 8 KiB of JSON.")


class EventFilter(filters.FilterSet):
    """The query of `GET /api/events`."""

    status = StatusFilter(
        choices=EventStatus.choices, help_text="May be repeated, or hold several separated by commas."
    )
    event_type = TextFilter(max_length=100)
    entity_id = TextFilter(max_length=100)
    due_before = MomentFilter(
        field_name="scheduled_at", lookup_expr="lte", help_text="Scheduled for this moment or earlier."
    )
    due_after = MomentFilter(
        field_name="scheduled_at", lookup_expr="gte", help_text="Scheduled for this moment or later."
    )


class EventResponse(serializers.ModelSerializer[ScheduledEvent]):
    class Meta:
        model = ScheduledEvent
        fields = (
            "id", "event_type", "entity_id", "scheduled_at", "payload", "status", "attempts", "error", "created_at",
            "fired_at", "cancelled_at",
        )  # fmt: skip
        read_only_fields = fields


class ExpiredTimer(serializers.Serializer[ScheduledEvent]):
    """A timer whose time has passed and that has not been acted on yet, in the shape older clients poll for."""

    TimerId = serializers.UUIDField(source="pk")
    OrderId = serializers.CharField(source="entity_id")
    SagaId = serializers.SerializerMethodField()
    Status = serializers.SerializerMethodField()
    ExpiresAt = serializers.DateTimeField(source="scheduled_at")

    def get_SagaId(self, event: ScheduledEvent) -> str | None:  # noqa: N802 - the field's name
        saga_id = event.payload.get("saga_id")
        return None if saga_id is None else str(saga_id)

    def get_Status(self, _: ScheduledEvent) -> str:  # noqa: N802 - the field's name
        return "Expired"
