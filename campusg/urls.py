"""Every address. An app's `api/urls.py` lists its own, under `/api/` and at the bare paths of older clients."""

from __future__ import annotations

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from campusg import health

APPS = ("orders", "payments", "timers", "sagas")

urlpatterns = [
    path("", RedirectView.as_view(url="/api/docs")),
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    *(path("", include(f"{app}.api.urls")) for app in APPS if find_spec(f"{app}.api.urls")),
]

handler400 = "campusg.problems.bad_request"
handler403 = "campusg.problems.forbidden"
handler404 = "campusg.problems.not_found"
handler500 = "campusg.problems.server_error"
