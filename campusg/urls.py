"""Every address. An app's `api/urls.py` lists its own, under `/api/` and at the bare paths of older clients."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from campusg import health

API = ("orders.api.urls", "payments.api.urls", "timers.api.urls", "sagas.rest.urls")

urlpatterns = [
    path("", RedirectView.as_view(url="/api/docs")),
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    *(path("", include(urls)) for urls in API),
]

handler400 = "sagas.rest.problems.bad_request"
handler403 = "sagas.rest.problems.forbidden"
handler404 = "sagas.rest.problems.not_found"
handler500 = "sagas.rest.problems.server_error"
