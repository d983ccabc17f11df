"""Every address. An app's `api/urls.py` lists its own."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from campusg import health
from orders.api import urls as orders
from payments.api import urls as payments
from sagas.rest import urls as sagas
from sagas.rest.routes import aliases
from timers.api import urls as timers

#: Apps whose older clients leave out the prefix `/api/`. Requests below it skip these addresses.
WITHOUT_PREFIX = (payments, timers, sagas)

urlpatterns = [
    path("", RedirectView.as_view(url="/api/docs")),
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    re_path("^(?!api/)", include([alias for app in WITHOUT_PREFIX for alias in aliases(app.urlpatterns)])),
    *(path("api/", include(app)) for app in (orders, payments, timers, sagas)),
]

handler400 = "sagas.rest.problems.bad_request"
handler403 = "sagas.rest.problems.forbidden"
handler404 = "sagas.rest.problems.not_found"
handler500 = "sagas.rest.problems.server_error"
