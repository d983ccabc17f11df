from django.urls import include, path

urlpatterns = [path("", include("sagas.rest.urls"))]
