"""Where sagas live: under `/api/`, at the bare paths of older clients, with and without a trailing slash."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path

from sagas.rest import holds, views


def everywhere(route: str, view: Any, name: str) -> list[URLPattern]:
    documented = path(f"api/{route}", view.as_view(), name=name)
    aliases = (f"api/{route}/", route, f"{route}/")
    return [documented, *(path(alias, view.as_view(schema=None)) for alias in aliases)]


urlpatterns = [
    *everywhere("sagas", views.Sagas, "sagas"),
    *everywhere("sagas/holds", holds.Holds, "saga-holds"),
    *everywhere("sagas/holds/<str:dependency>/release", holds.ReleaseOne, "saga-hold-release"),
    *everywhere("sagas/<str:saga_id>", views.OneSaga, "saga"),
    *everywhere("sagas/<str:saga_id>/cancel", views.CancelOneSaga, "saga-cancel"),
    *everywhere("sagas/<str:saga_id>/retry", views.RetryOneSaga, "saga-retry"),
    *everywhere("sagas/<str:saga_id>/skip", views.SkipOneStep, "saga-skip"),
    *everywhere("sagas/<str:saga_id>/close", views.CloseOneSaga, "saga-close"),
]
