"""Where sagas live, below the prefix of your choice: `path("api/", include("sagas.rest.urls"))`."""

from __future__ import annotations

from sagas.rest import holds, views
from sagas.rest.routes import both

urlpatterns = [
    *both("sagas", views.Sagas, "sagas"),
    *both("sagas/holds", holds.Holds, "saga-holds"),
    *both("sagas/holds/<str:dependency>/release", holds.ReleaseOne, "saga-hold-release"),
    *both("sagas/<str:saga_id>", views.OneSaga, "saga"),
    *both("sagas/<str:saga_id>/cancel", views.CancelOneSaga, "saga-cancel"),
    *both("sagas/<str:saga_id>/retry", views.RetryOneSaga, "saga-retry"),
    *both("sagas/<str:saga_id>/skip", views.SkipOneStep, "saga-skip"),
    *both("sagas/<str:saga_id>/close", views.CloseOneSaga, "saga-close"),
]
