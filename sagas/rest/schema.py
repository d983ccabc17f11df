"""Describing operations for drf-spectacular, where it is installed; elsewhere the descriptions do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rest_framework.generics import ListAPIView

try:
    from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
except ImportError:
    if not TYPE_CHECKING:

        def _nothing(*_: Any, **__: Any) -> Any:
            return lambda described: described

        extend_schema = extend_schema_field = extend_schema_view = _nothing
        OpenApiParameter = None

__all__ = ["extend_schema", "extend_schema_field", "header", "name_list"]

View = TypeVar("View", bound=type[ListAPIView[Any]])


def header(name: str, description: str) -> Any:
    """A request header, for the `parameters` of `extend_schema`."""
    if OpenApiParameter is None:
        return None
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description)


def name_list(operation_id: str) -> Callable[[View], View]:
    """The name of a list's `GET`, for clients generated from the schema."""
    return extend_schema_view(get=extend_schema(operation_id=operation_id))
