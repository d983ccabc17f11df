"""What the web server runs. Django answers as WSGI on a few lasting threads, each with a lasting database connection.

An ASGI server that calls Django's views directly opens a new PostgreSQL connection for every request. Live channels
(`/ws`, `/events`) will be real ASGI beside it, in `application`.
"""

from __future__ import annotations

import os

from a2wsgi import WSGIMiddleware
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")

django_application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - settings are only whole once Django is set up

application = WSGIMiddleware(django_application, workers=settings.WEB_THREADS)  # type: ignore[arg-type]
