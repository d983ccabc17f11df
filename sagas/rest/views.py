"""The sagas API: list, look at, cancel, and settle what needs attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from sagas.engine import commands, preview
from sagas.errors import UnknownSaga
from sagas.machine.state import Row
from sagas.models import SagaInstance
from sagas.rest import access
from sagas.rest.access import user_of
from sagas.rest.bodies import read
from sagas.rest.endpoint import Endpoint, ListEndpoint
from sagas.rest.headers import CANCEL_HEADERS, check_precondition, etag, idempotency_key
from sagas.rest.idempotency import Answer
from sagas.rest.repeats import answer_once, render
from sagas.rest.routes import sibling
from sagas.rest.schema import extend_schema, name_list
from sagas.rest.serializers import (
    CancelSaga,
    RetrySaga,
    SagaCancellationPreview,
    SagaDetail,
    SagaFilter,
    SagaStarted,
    SagaSummary,
    SkipStep,
)

SETTLE = "sagas.retry_sagainstance"


@name_list("list_sagas")
class Sagas(ListEndpoint[SagaInstance]):
    """Your sagas, newest first; all of them for staff. The next page is in the `Link` header."""

    model = SagaInstance
    serializer_class = SagaSummary
    filterset_class = SagaFilter


class OneSaga(Endpoint):
    """The complete state of a saga with its history."""

    @extend_schema(responses=SagaDetail, operation_id="read_saga")
    def get(self, request: Request, saga_id: str) -> Response:
        saga = _find(request, saga_id)
        return Response(SagaDetail(saga, context={"sees_all": access.sees_all(user_of(request), SagaInstance)}).data)


class CancelOneSaga(Endpoint):
    """Cancel a saga: everything it has done is undone. `GET` shows what that would do."""

    @extend_schema(responses=SagaCancellationPreview, operation_id="preview_saga_cancellation")
    def get(self, request: Request, saga_id: str) -> Response:
        shown = preview.preview(_find(request, saga_id).pk)
        return Response(SagaCancellationPreview(shown).data, headers=etag(shown.tag))

    @extend_schema(
        request=CancelSaga, responses={202: SagaStarted}, parameters=CANCEL_HEADERS, operation_id="cancel_saga"
    )
    def post(self, request: Request, saga_id: str) -> Response:
        saga = _find(request, saga_id)
        return render(answer_once(request, lambda: _cancellation(request, saga)))


def _cancellation(request: Request, saga: SagaInstance) -> Callable[[], Answer]:
    payload = read(CancelSaga, request.data or {})
    actor = request.user.get_username()
    key = idempotency_key(request)

    def cancel() -> Answer:
        check_precondition(request, partial(preview.require_unchanged, saga.pk))
        # The engine keeps the key too, for processes of the release before, which look for it there.
        row = commands.cancel(saga.pk, **payload, actor=actor, request_key=f"{actor}:{key}" if key else "")
        return _accepted(request, row)

    return cancel


class RetryOneSaga(Endpoint):
    """Let a saga that needs attention go on, with fresh retries."""

    @extend_schema(request=RetrySaga, responses={202: SagaStarted}, operation_id="retry_saga")
    def post(self, request: Request, saga_id: str) -> Response:
        return _settle(request, saga_id, RetrySaga, commands.retry)


class SkipOneStep(Endpoint):
    """Take the step a saga is parked at as done by hand, and go on behind it."""

    @extend_schema(request=SkipStep, responses={202: SagaStarted}, operation_id="skip_saga_step")
    def post(self, request: Request, saga_id: str) -> Response:
        return _settle(request, saga_id, SkipStep, commands.skip)


class CloseOneSaga(Endpoint):
    """End a saga that needs attention where it stands: the rest was settled by hand."""

    @extend_schema(request=RetrySaga, responses={202: SagaStarted}, operation_id="close_saga")
    def post(self, request: Request, saga_id: str) -> Response:
        return _settle(request, saga_id, RetrySaga, commands.close)


def _find(request: Request, saga_id: str) -> SagaInstance:
    """The saga, if the caller may know of it. Raises `UnknownSaga` for everything else."""
    mine = access.visible(SagaInstance.objects.all(), user_of(request))
    return access.find(mine, saga_id, UnknownSaga, "saga")


def _settle(request: Request, saga_id: str, form: type[RetrySaga], act: Callable[..., Row]) -> Response:
    saga = _find(request, saga_id)
    if not request.user.has_perm(SETTLE):
        raise PermissionDenied("Only an operator may settle a saga that needs attention.")
    payload = read(form, request.data or {})
    return render(_accepted(request, act(saga.pk, **payload, actor=request.user.get_username())))


def _accepted(request: Request, row: Row) -> Answer:
    body = {
        "success": True, "saga_id": str(row.id), "status": row.status.value,
        "reason_code": row.reason_code or None, "reason": row.reason or None,
    }  # fmt: skip
    return Answer(202, body, sibling(request, "saga", saga_id=str(row.id)))
