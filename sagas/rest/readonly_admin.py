"""Admin pages to look at rows that are changed by sagas and APIs only. Works with and without unfold."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.http import HttpRequest

if apps.is_installed("unfold"):
    from unfold.admin import ModelAdmin, TabularInline
else:
    from django.contrib.admin import ModelAdmin, TabularInline


class ReadOnly:
    """Nothing is added, changed or deleted by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc] # unfold has no types
    show_full_result_count = False


class ReadOnlyInline(ReadOnly, TabularInline):  # type: ignore[misc] # unfold has no types
    extra = 0
    can_delete = False
