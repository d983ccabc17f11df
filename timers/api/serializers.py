"""What the timers API reads and writes."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from timers.models import EventStatus, ScheduledEvent


class ScheduleRequest(serializers.Serializer[Any]):
    """An alarm to set."""

    event_type = serializers.CharField(max_length=100, help_text="One of the types somebody handles.")
    entity_id = serializers.CharField(max_length=100, help_text="What the alarm is about, such as an order id.")
    scheduled_at = serializers.DateTimeField(help_text="A moment in the future, with its offset from UTC.")
    payload = serializers.DictField(required=False, default=dict, help_text="At most 8 KiB of JSON.")

    def to_internal_value(self, data: Any) -> Any:
        unknown = set(data) - set(self.fields) if isinstance(data, dict) else set()
        if unknown:
            raise serializers.ValidationError(
                {str(name)[:64]: [serializers.ErrorDetail("Unknown field.", code="unknown_field")] for name in unknown}
            )
        return super().to_internal_value(data)


class StatusField(serializers.CharField):
    """A status in any letter case."""

    def to_internal_value(self, data: Any) -> str:
        status = str(data).strip().upper()
        if status not in EventStatus.values:
            raise serializers.ValidationError(f"Use one of {', '.join(EventStatus.values)}.", code="invalid_choice")
        return status


class EventFilter(serializers.Serializer[Any]):
    """The query of `GET /api/events`. `status` may be repeated, or hold several separated by commas."""

    status = serializers.ListField(child=StatusField(), required=False)
    event_type = serializers.CharField(required=False, max_length=100)
    entity_id = serializers.CharField(required=False, max_length=100)
    due_before = serializers.DateTimeField(required=False, help_text="Scheduled for this moment or earlier.")
    due_after = serializers.DateTimeField(required=False, help_text="Scheduled for this moment or later.")


class EventResponse(serializers.ModelSerializer[ScheduledEvent]):
    class Meta:
        model = ScheduledEvent
        fields = (
            "id",
            "event_type",
            "entity_id",
            "scheduled_at",
            "payload",
            "status",
            "attempts",
            "error",
            "created_at",
            "fired_at",
            "cancelled_at",
        )
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
