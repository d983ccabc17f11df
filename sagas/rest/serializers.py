"""What the sagas API reads and writes."""

from __future__ import annotations

from typing import Any

from django_filters import rest_framework as filters
from rest_framework import serializers

from sagas.conf import options
from sagas.engine import representation
from sagas.models import SagaInstance
from sagas.rest.bodies import StrictSerializer
from sagas.rest.filters import MomentFilter, StatusFilter, TextFilter
from sagas.statuses import Status, parse_status


class SagaQuery(filters.FilterSet):
    """The query of the list of sagas. Every saga that ended because a step failed is found by `FAILED`."""

    status = StatusFilter(
        choices=Status.choices, parse=parse_status, finds={Status.FAILED: (Status.COMPENSATED,)},
        help_text="May be repeated, or hold several separated by commas. `FAILED` also finds `COMPENSATED`.",
    )  # fmt: skip
    name = TextFilter(max_length=100)
    subject = TextFilter(max_length=64, help_text="What the saga is about.")
    owner = TextFilter(max_length=150)
    since = MomentFilter(field_name="created_at", lookup_expr="gte", help_text="Started at this moment or later.")
    until = MomentFilter(field_name="created_at", lookup_expr="lt", help_text="Started before this moment.")


def _filter_with(subject_parameter: str) -> type[SagaQuery]:
    """The query in which the subject may also be called by the name that this project gives it."""
    alias = TextFilter(field_name="subject", max_length=64, help_text="What the saga is about.")
    return type("SagaFilter", (SagaQuery,), {"__doc__": SagaQuery.__doc__, subject_parameter: alias})


SagaFilter = _filter_with(options().subject_parameter)


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

    def get_fields(self) -> dict[str, Any]:
        shown = {name: serializers.CharField(allow_null=True) for name in options().shown_input}
        return super().get_fields() | shown

    def to_representation(self, instance: SagaInstance) -> Any:
        return _render(self, representation.saga_view(instance))


class SagaDetail(SagaSummary):
    history = HistoryEntry(many=True)

    def to_representation(self, instance: SagaInstance) -> Any:
        events = representation.events_of(instance.pk, include_internal=bool(self.context.get("sees_all")))
        view = representation.saga_view(instance) | {"history": [representation.entry(event) for event in events]}
        return _render(self, view)


class CancelSaga(StrictSerializer):
    """All optional: why the saga is cancelled."""

    reason_code = serializers.RegexField(
        r"^[a-z][a-z0-9_]*$",
        max_length=64,
        default="customer_request",
        help_text="For programs, such as `duplicate_order`.",
    )
    reason = serializers.CharField(max_length=500, default="Manual cancellation requested by user")


class SagaCancellationPreview(serializers.Serializer[Any]):
    """What cancelling would do now, and what the saga's owner adds to it, such as which money moves."""

    saga_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Status.choices)
    runs = serializers.ListField(child=serializers.CharField(), help_text="The compensations, in order.")
    details = serializers.DictField()


class RetrySaga(StrictSerializer):
    reason = serializers.CharField(max_length=500, help_text="What was done so that it will work now.")


class SkipStep(RetrySaga):
    result = serializers.DictField(required=False, help_text="What the step would have returned, by name.")


class SagaStarted(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    saga_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Status.choices)
    reason_code = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)


def _render(serializer: serializers.Serializer[Any], view: dict[str, Any]) -> Any:
    base: Any = serializers.Serializer
    return base.to_representation(serializer, view)
