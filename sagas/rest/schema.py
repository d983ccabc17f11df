"""Describing operations for drf-spectacular, where it is installed; elsewhere the descriptions do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
except ImportError:
    if not TYPE_CHECKING:

        def extend_schema(**_: Any) -> Any:
            return _unchanged

        def extend_schema_field(_: Any) -> Any:
            return _unchanged

        OpenApiParameter = None

__all__ = ["extend_schema", "extend_schema_field", "header"]


def header(name: str, description: str) -> Any:
    """A request header, for the `parameters` of `extend_schema`."""
    if OpenApiParameter is None:
        return None
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description)


def _unchanged(described: Any) -> Any:
    return described
