"""A project that uses the engine and its API, with only the settings that every Django project has."""

from __future__ import annotations

import json
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

REST_FRAMEWORK = json.loads(os.environ.get("ELSEWHERE_REST_FRAMEWORK", "{}"))

celery = Celery("elsewhere", broker="memory://")
celery.set_default()
