"""The middleware that runs before everything that logs or stores a request."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse

from payments.cards import redact, request_holds_card_number
from payments.errors import CardNumberFound
from sagas.rest import problems

MAX_BODY_BYTES = 1024 * 1024


class CardNumberMiddleware:
    """Refuses a request that contains a card number, without repeating the number."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if _length(request) > MAX_BODY_BYTES:
            return self.get_response(request)  # too large: it is refused later, unread
        try:
            is_refused = request_holds_card_number(request)
        except RequestDataTooBig:
            is_refused = False
        return _refusal(request) if is_refused else self.get_response(request)


def _length(request: HttpRequest) -> int:
    text = request.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _refusal(request: HttpRequest) -> HttpResponse:
    return problems.document_of(CardNumberFound()).response(redact(request.path))
