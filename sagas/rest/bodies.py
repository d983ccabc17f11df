"""Request bodies: read by one function, and exact, so that a misspelt field is an error and never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

SHOWN_OF_A_NAME = 64


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not have."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = [name for name in data if name not in self.fields] if isinstance(data, Mapping) else []
        if unknown:
            raise serializers.ValidationError(
                {
                    str(name)[:SHOWN_OF_A_NAME]: [serializers.ErrorDetail("Unknown field.", code="unknown_field")]
                    for name in unknown
                }
            )
        return super().to_internal_value(data)


def read(form: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """The validated fields of a body. Raises REST framework's ValidationError, which names each field that is wrong."""
    serializer = form(data=data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
