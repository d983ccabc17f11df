"""Views whose requests may be repeated with an `Idempotency-Key`."""

from __future__ import annotations

from collections.abc import Callable

from rest_framework.request import Request
from rest_framework.response import Response

from sagas.rest.headers import idempotency_key
from sagas.rest.idempotency import Answer, KeyedRequest, earlier_answer, once
from sagas.rest.routes import canonical_path


def keyed(request: Request) -> KeyedRequest:
    """What identifies the request. Raises ValidationError if its key is none."""
    return KeyedRequest(
        user=request.user.get_username(),
        method=str(request.method),
        path=canonical_path(request),
        key=idempotency_key(request),
        body=request.data,
    )


def answer_once(request: Request, prepare: Callable[[], Callable[[], Answer]]) -> Answer:
    """The kept answer to a repeated request; else `prepare` checks the request and returns the work to do once."""
    keyed_request = keyed(request)
    return earlier_answer(keyed_request) or once(keyed_request, prepare())


def render(answer: Answer, **headers: str) -> Response:
    location = {"Location": answer.location} if answer.location else {}
    return Response(answer.body, status=answer.status_code, headers=location | headers | replay_mark(answer))


def replay_mark(answer: Answer) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if answer.is_replayed else {}
