"""What the sagas API reads and writes."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from sagas.models import SagaInstance
from sagas.rest import representation as history
from sagas.statuses import Status

#: Names of other dialects for our statuses; letter case and underscores never matter.
STATUS_ALIASES = {"INPROGRESS": Status.STARTED, "RUNNING": Status.STARTED}


def parse_status(text: str) -> Status:
    """A status in any letter case, with or without underscores. Raises `ValueError`."""
    plain = text.strip().upper().replace("_", "").replace("-", "").replace(" ", "")
    known = {status.value.replace("_", ""): status for status in Status} | STATUS_ALIASES
    if plain not in known:
        raise ValueError(text)
    return known[plain]


class StatusField(serializers.CharField):
    def to_internal_value(self, data: Any) -> Status:
        try:
            return parse_status(str(data))
        except ValueError:
            choices = ", ".join(Status.values)
            raise serializers.ValidationError(f"{str(data)[:32]!r} is no status; use one of {choices}.") from None


class SagaFilter(serializers.Serializer[Any]):
    """The query of `GET /api/sagas`. `status` may be repeated, or hold several separated by commas."""

    status = serializers.ListField(child=StatusField(), required=False)
    name = serializers.CharField(required=False, max_length=100)
    order_id = serializers.CharField(required=False, max_length=64, help_text="The order the saga is about.")
    owner = serializers.CharField(required=False, max_length=150)
    since = serializers.DateTimeField(required=False, help_text="Started at this moment or later.")
    until = serializers.DateTimeField(required=False, help_text="Started before this moment.")


class HistoryEntry(serializers.Serializer[Any]):
    step = serializers.CharField()
    status = serializers.CharField()
    message = serializers.CharField()
    timestamp = serializers.DateTimeField()
    action = serializers.CharField()
    attempt = serializers.IntegerField(allow_null=True)
    actor = serializers.CharField(allow_null=True)


class SagaSummary(serializers.Serializer[SagaInstance]):
    """A saga without its history."""

    id = serializers.UUIDField()
    saga_id = serializers.UUIDField()
    name = serializers.CharField()
    version = serializers.IntegerField()
    status = serializers.ChoiceField(choices=Status.choices)
    current_step = serializers.CharField(allow_null=True)
    order_id = serializers.CharField(allow_null=True)
    payment_id = serializers.CharField(allow_null=True)
    subject = serializers.CharField()
    owner = serializers.CharField()
    attempt = serializers.IntegerField()
    reason_code = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)
    next_try_at = serializers.DateTimeField(allow_null=True)
    next_auto_retry_at = serializers.DateTimeField(
        allow_null=True, help_text="When a saga that needs attention is retried by itself."
    )
    waiting_reason = serializers.CharField(allow_null=True, help_text="`held: stripe` while that is on hold.")
    deadline_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: SagaInstance) -> Any:
        return _plain(self, history.saga_view(instance))


class SagaDetail(SagaSummary):
    history = HistoryEntry(many=True)

    def to_representation(self, instance: SagaInstance) -> Any:
        events = history.events_of(instance.pk, include_internal=bool(self.context.get("sees_all")))
        view = history.saga_view(instance) | {"history": [history.entry(event) for event in events]}
        return _plain(self, view)


class CancelSaga(serializers.Serializer[Any]):
    """All optional: why the saga is cancelled."""

    reason_code = serializers.RegexField(
        r"^[a-z][a-z0-9_]*$",
        max_length=64,
        default="customer_request",
        help_text="For programs, such as `duplicate_order`.",
    )
    reason = serializers.CharField(max_length=500, default="Manual cancellation requested by user")

    def to_internal_value(self, data: Any) -> Any:
        refuse_unknown(self, data)
        return super().to_internal_value(data)


class SagaCancellationPreview(serializers.Serializer[Any]):
    """What cancelling would do now, and what the saga's owner adds to it, such as which money moves."""

    saga_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Status.choices)
    runs = serializers.ListField(child=serializers.CharField(), help_text="The compensations, in order.")
    details = serializers.DictField()


class RetrySaga(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=500, help_text="What was done so that it will work now.")

    def to_internal_value(self, data: Any) -> Any:
        refuse_unknown(self, data)
        return super().to_internal_value(data)


class SkipStep(RetrySaga):
    result = serializers.DictField(required=False, help_text="What the step would have returned, by name.")


class SagaStarted(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    saga_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Status.choices)
    reason_code = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)


def _plain(serializer: serializers.Serializer[Any], view: dict[str, Any]) -> Any:
    base: Any = serializers.Serializer
    return base.to_representation(serializer, view)


def refuse_unknown(serializer: serializers.Serializer[Any], data: Any) -> None:
    unknown = set(data) - set(serializer.fields) if isinstance(data, dict) else set()
    if unknown:
        raise serializers.ValidationError(
            {str(name)[:64]: "There is no such field." for name in sorted(unknown, key=str)}
        )
