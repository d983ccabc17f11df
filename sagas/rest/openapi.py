"""The `DEFAULT_SCHEMA_CLASS` for drf-spectacular: every operation may answer with a problem document."""

from __future__ import annotations

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

from sagas.rest.problems import CONTENT_TYPE


class FieldErrorSerializer(serializers.Serializer[Any]):
    field = serializers.CharField(help_text="Where in the body, as a dotted path; empty for the body as a whole.")
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457. Further members depend on `code`."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField(help_text="Stable, for programs.")
    advice = serializers.CharField(help_text="What to do next.")
    instance = serializers.CharField()
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]


class ProblemAutoSchema(AutoSchema):
    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction=direction)
        reference = self.resolve_serializer(ProblemSerializer, "response").ref
        problem = {
            "description": "What went wrong and what to do next.",
            "content": {CONTENT_TYPE: {"schema": reference}},
        }
        return bodies | {"default": problem}
