"""Every error of the API as an RFC 9457 problem document: what went wrong, a stable code, and what to do next."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from sagas import errors
from sagas.errors import Problem
from sagas.rest.parsers import BodyTooLarge

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
#: What `type` begins with unless `settings.API_PROBLEM_TYPES` says otherwise; the code follows.
TYPES = "/problems/"
SERVICE_UNAVAILABLE = 503
#: How long a client should wait before it tries again while the database or another service does not answer.
RETRY_AFTER_SECONDS = 5

#: The HTTP status of each error of the engine. Errors of other apps have their own `status`, or inherit one of these.
STATUSES: Mapping[type[Problem], int] = {
    errors.Problem: 400,
    errors.Refusal: 409,
    errors.SagaError: 400,
    errors.UnknownSaga: 404,
    errors.CannotCancel: 409,
    errors.AlreadyCancelling: 409,
    errors.CannotRetry: 409,
    errors.WrongResult: 422,
    errors.UnknownDependency: 404,
    errors.AlreadyHeld: 409,
    errors.NotHeld: 409,
    errors.SagaMoved: 412,
    errors.UnknownDefinition: 503,
}


def status_of(error: Problem | type[Problem]) -> int:
    """The HTTP status of an error or a class of errors: its own `status`, else that of its nearest base above."""
    own: int | None = getattr(error, "status", None)
    kind = error if isinstance(error, type) else type(error)
    return own or next(STATUSES[base] for base in kind.__mro__ if base in STATUSES)


@dataclass(frozen=True, slots=True)
class Document:
    """One problem document, not yet tied to a request."""

    status: int
    code: str
    title: str
    advice: str
    detail: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, instance: str) -> dict[str, Any]:
        """The document's members; `instance` is the path of the request."""
        return {
            "type": getattr(settings, "API_PROBLEM_TYPES", TYPES) + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail or self.title,
            "code": self.code,
            "advice": self.advice,
            "instance": instance,
        } | dict(self.extra)

    def response(self, instance: str) -> HttpResponse:
        """The answer of code outside of REST framework: of a middleware, or of Django's error handlers."""
        headers = dict(self.headers)
        return JsonResponse(self.body(instance), status=self.status, headers=headers, content_type=CONTENT_TYPE)


#: REST framework's exceptions: (code, title, advice). The first class that fits decides.
FRAMEWORK_PROBLEMS: tuple[tuple[type[exceptions.APIException], tuple[str, str, str]], ...] = (
    (BodyTooLarge, ("request.too_large", "The request body is too large", "Send a smaller body.")),
    (
        exceptions.ValidationError,
        ("request.invalid", "The request is not valid", "Correct the fields named in `errors` and send it again."),
    ),
    (
        exceptions.ParseError,
        ("request.malformed", "The request body cannot be read", "Send one valid JSON document in UTF-8."),
    ),
    (
        exceptions.NotAuthenticated,
        (
            "auth.required",
            "Authentication is required",
            "Send valid credentials of the kind that `WWW-Authenticate` names.",
        ),
    ),
    (
        exceptions.AuthenticationFailed,
        ("auth.failed", "The credentials are not valid", "Get new credentials and send the request again."),
    ),
    (
        exceptions.PermissionDenied,
        ("auth.forbidden", "You may not do this", "Use an account that has the permission."),
    ),
    (exceptions.NotFound, ("not_found", "There is no such thing here", "Check the address and the id.")),
    (
        exceptions.MethodNotAllowed,
        ("method_not_allowed", "The method is not allowed here", "Use one of the methods in the `Allow` header."),
    ),
    (exceptions.NotAcceptable, ("not_acceptable", "Only JSON is served here", "Accept `application/json`.")),
    (
        exceptions.UnsupportedMediaType,
        ("unsupported_media_type", "Only JSON is read here", "Send `Content-Type: application/json`."),
    ),
    (exceptions.Throttled, ("rate_limited", "Too many requests", "Wait as long as `Retry-After` says.")),
)


def handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """REST framework's exception handler. None for a bug: it goes on to `server_error` and to the log."""
    document = document_for(error)
    if document is None:
        return None
    set_rollback()
    request = context.get("request")
    body = document.body(request.path if request is not None else "")
    return Response(body, status=document.status, headers=dict(document.headers), content_type=CONTENT_TYPE)


def document_for(error: Exception) -> Document | None:
    """The problem document of an exception, or None if callers should not learn about it."""
    if isinstance(error, Problem):
        return document_of(error)
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("The database does not answer", extra={"action": "database_unavailable", "error": str(error)})
        return _database_unavailable()
    return _framework_document(_as_framework_error(error))


def document_of(problem: Problem) -> Document:
    status = status_of(problem)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == SERVICE_UNAVAILABLE else {}
    return Document(status, problem.code, problem.title, problem.advice, problem.detail, problem.extra, headers)


def _as_framework_error(error: Exception) -> Exception:
    if isinstance(error, Http404):
        return exceptions.NotFound()
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(error, RequestDataTooBig):
        return BodyTooLarge()
    return error


def _framework_document(error: Exception) -> Document | None:
    for kind, (code, title, advice) in FRAMEWORK_PROBLEMS:
        if isinstance(error, kind):
            extra = {"errors": list(flatten(error.detail))} if kind is exceptions.ValidationError else {}
            return Document(error.status_code, code, title, advice, _detail(error, extra), extra, _headers(error))
    return None


def _detail(error: exceptions.APIException, extra: Mapping[str, Any]) -> str:
    if not extra:
        return str(error.detail)
    lines = [f"{each['field']}: {each['detail']}" if each["field"] else each["detail"] for each in extra["errors"]]
    return " ".join(lines[:3]) + (f" And {len(lines) - 3} more." if len(lines) > 3 else "")


def flatten(detail: Any, field: str = "") -> Iterator[dict[str, str]]:
    """REST framework's nested error details as a flat list of {"field": "items.0.price", "code": …, "detail": …}."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from flatten(value, field if key == "non_field_errors" else _join(field, str(key)))
    elif isinstance(detail, list):
        for index, value in enumerate(detail):
            yield from flatten(value, field if isinstance(value, str) else _join(field, str(index)))
    else:
        yield {"field": field, "code": getattr(detail, "code", "invalid"), "detail": str(detail)}


def _join(field: str, part: str) -> str:
    return f"{field}.{part}" if field else part


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if seconds := getattr(error, "wait", None):
        headers["Retry-After"] = str(math.ceil(seconds))
    return headers


def _database_unavailable() -> Document:
    return Document(
        status=SERVICE_UNAVAILABLE,
        code="database.unavailable",
        title="The service cannot reach its database",
        advice="Send the same request again after `Retry-After` seconds, with the same `Idempotency-Key`.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


# -- Django's error handlers, for a project's root URLconf ----------------------------------------------------------
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    advice = "Correct the request and send it again."
    return Document(400, "request.invalid", "The request is not valid", advice).response(request.path)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _must(exceptions.PermissionDenied()).response(request.path)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _must(exceptions.NotFound()).response(request.path)


def server_error(request: HttpRequest) -> HttpResponse:
    advice = (
        "Send the same request again with the same `Idempotency-Key`; if it fails again, report it to the operator."
    )
    return Document(500, "server_error", "Something went wrong on our side", advice).response(request.path)


def _must(error: exceptions.APIException) -> Document:
    document = _framework_document(error)
    assert document is not None  # noqa: S101 - the table above has both
    return document
