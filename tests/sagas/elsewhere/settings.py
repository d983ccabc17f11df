"""A project that uses the engine and its API, with no settings but those every Django project has."""

from __future__ import annotations

import os

from celery import Celery

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
ROOT_URLCONF = os.environ["ELSEWHERE_URLS"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "sagas",
    "tests.sagas.elsewhere.bookings",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

celery = Celery("elsewhere", broker="memory://")
celery.set_default()
