"""What happens around every request."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

from sagas.rest import problems

#: Everything from our own origin; inline styles because admin and API documentation need them.
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'{scripts}; "
    "object-src 'none'; base-uri 'self'; frame-ancestors 'none'; form-action 'self'"
)
STRICT_POLICY = POLICY.format(scripts="")
#: The admin's own scripts (Alpine) evaluate expressions and stand in the page.
ADMIN_POLICY = POLICY.format(scripts=" 'unsafe-inline' 'unsafe-eval'")

View = Callable[[HttpRequest], HttpResponse]


class ProblemMiddleware:
    """Returns a problem document when a view outside of REST framework cannot reach the database."""

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        document = problems.document_for(exception)
        return document.response(request.path) if document is not None and document.status == 503 else None


class ContentSecurityPolicyMiddleware:
    """Sets the header that lets browsers load nothing from other origins."""

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = ADMIN_POLICY if request.path.startswith("/admin/") else STRICT_POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        return response


class RequestIdMiddleware:
    """Sets the header with the id that this request has in the logs."""

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request_id := structlog.contextvars.get_contextvars().get("request_id"):
            response.headers["X-Request-ID"] = str(request_id)
        return response
