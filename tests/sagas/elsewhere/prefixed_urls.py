from django.urls import include, path

urlpatterns = [path("shop/v1/", include(("sagas.rest.urls", "engine"), namespace="engine"))]
