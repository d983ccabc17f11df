"""Filters of lists, for `filterset_class` of a `ListEndpoint`. What cannot be understood is an error, never ignored.

A parameter that is given must have a value: `?owner=` would otherwise find the rows of every owner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django_filters import fields
from django_filters import rest_framework as filters

from sagas.rest.schema import extend_schema_field


def _require_given(value: str | None) -> None:
    if value is not None and not value.strip():
        raise ValidationError("This field may not be blank.", code="blank")


class TextField(forms.CharField):
    def to_python(self, value: str | None) -> str | None:
        _require_given(value)
        return super().to_python(value)


class MomentField(fields.IsoDateTimeField):
    default_error_messages = {"invalid": "Send a moment such as 2026-01-31T12:00:00Z."}

    def to_python(self, value: Any) -> Any:
        _require_given(value)
        return super().to_python(value)


class StatusesField(forms.Field):
    """Statuses as one list; None if the parameter is not there. `parse` raises ValueError for what is no status."""

    widget = forms.SelectMultiple
    default_error_messages = {"invalid_choice": "%(value)r is no status; use one of %(choices)s."}

    def __init__(self, *, choices: Collection[tuple[str, str]], parse: Callable[[str], str], **options: Any) -> None:
        super().__init__(**options)
        self.choices, self.parse = [value for value, _ in choices], parse

    def to_python(self, value: list[str] | None) -> list[str] | None:
        parts = [part.strip() for text in value or () for part in text.split(",")]
        return [self._status(part) for part in parts if part] if value else None

    def _status(self, text: str) -> str:
        try:
            status = str(self.parse(text))
        except ValueError:
            status = ""
        if status not in self.choices:
            about = {"value": text[:32], "choices": ", ".join(self.choices)}
            raise ValidationError(self.error_messages["invalid_choice"], code="invalid_choice", params=about)
        return status


class TextFilter(filters.CharFilter):
    """Rows with exactly this text, of at most `max_length` characters."""

    field_class = TextField

    def __init__(self, *args: Any, max_length: int, help_text: str = "", **options: Any) -> None:
        super().__init__(*args, max_length=max_length, help_text=help_text, **options)
        describe: Any = extend_schema_field(
            {"type": "string", "minLength": 1, "maxLength": max_length, "description": help_text}
        )
        describe(self)


class MomentFilter(filters.IsoDateTimeFilter):
    """Rows before or after a moment in ISO 8601, as `lookup_expr` says."""

    field_class = MomentField


class StatusFilter(filters.MultipleChoiceFilter):
    """Rows with one of these statuses: the parameter may be repeated, or hold several separated by commas.

    `parse` reads a status in the spellings that callers use; `finds` says which rows a status finds besides its own.
    """

    field_class = StatusesField

    def __init__(
        self,
        *,
        choices: Collection[tuple[str, str]],
        parse: Callable[[str], str] = str.upper,
        finds: Mapping[str, Collection[str]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(choices=choices, parse=parse, **options)
        self.finds = finds or {}

    def filter(self, rows: QuerySet[Model], statuses: list[str] | None) -> QuerySet[Model]:
        if statuses is None:
            return rows
        found = {each for status in statuses for each in (status, *self.finds.get(status, ()))}
        return rows.filter(**{f"{self.field_name}__in": found})
