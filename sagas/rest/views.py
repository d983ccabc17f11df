"""The sagas API: list, look at, cancel, and send on what needs attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sagas.engine import commands, preview
from sagas.machine.state import Row
from sagas.models import SagaInstance
from sagas.rest import access
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

MAX_KEY_LENGTH = 255
#: What each part of the query compares.
QUERY_COLUMNS = {
    "status": "status__in", "name": "name", "order_id": "subject", "owner": "owner",
    "since": "created_at__gte", "until": "created_at__lt",
}  # fmt: skip
KEY_HEADER = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="Repeat a cancellation with its key: 202 again."
)

MATCH_HEADER = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="The preview's ETag: cancel only if nothing moved since."
)


class Sagas(ListAPIView[SagaInstance]):
    """Your sagas, newest first; all of them for staff. The next page is in the `Link` header."""

    serializer_class = SagaSummary
    filter_backends = ()

    def get_queryset(self) -> QuerySet[SagaInstance]:
        if getattr(self, "swagger_fake_view", False):
            return SagaInstance.objects.none()
        return _filtered(access.visible_to(self.request.user), _query(self.request.query_params))

    @extend_schema(parameters=[SagaFilter], operation_id="list_sagas")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


def _query(params: QueryDict) -> dict[str, Any]:
    given: dict[str, Any] = {name: value for name, value in params.items() if name in QUERY_COLUMNS}
    if "status" in params:
        given["status"] = [part for text in params.getlist("status") for part in text.split(",") if part.strip()]
    wish = SagaFilter(data=given)
    wish.is_valid(raise_exception=True)
    return dict(wish.validated_data)


def _filtered(sagas: QuerySet[SagaInstance], query: dict[str, Any]) -> QuerySet[SagaInstance]:
    return sagas.filter(**{QUERY_COLUMNS[name]: value for name, value in query.items()})


class OneSaga(APIView):
    """The complete state of a saga with its history."""

    @extend_schema(responses=SagaDetail, operation_id="read_saga")
    def get(self, request: Request, saga_id: str) -> Response:
        saga = access.find(request.user, saga_id)
        return Response(SagaDetail(saga, context={"sees_all": access.sees_all(request.user)}).data)


class CancelOneSaga(APIView):
    """Cancel a saga: everything it has done is undone. `GET` shows what that would do."""

    @extend_schema(responses=SagaCancellationPreview, operation_id="preview_saga_cancellation")
    def get(self, request: Request, saga_id: str) -> Response:
        shown = preview.preview(access.find(request.user, saga_id).pk)
        return Response(SagaCancellationPreview(shown).data, headers={"ETag": f'"{shown.tag}"'})

    @extend_schema(
        request=CancelSaga,
        responses={202: SagaStarted},
        parameters=[KEY_HEADER, MATCH_HEADER],
        operation_id="cancel_saga",
    )
    def post(self, request: Request, saga_id: str) -> Response:
        saga = access.find(request.user, saga_id)
        wish = CancelSaga(data=request.data or {})
        wish.is_valid(raise_exception=True)
        actor = request.user.get_username()
        key = request.headers.get("Idempotency-Key", "").strip()[:MAX_KEY_LENGTH]
        request_key = f"{actor}:{key}" if key else ""
        with transaction.atomic():
            if tag := request.headers.get("If-Match", "").strip().strip('"'):
                preview.require_unchanged(saga.pk, tag)
            row = commands.cancel(saga.pk, **wish.validated_data, actor=actor, request_key=request_key)
        return _accepted(row)


class RetryOneSaga(APIView):
    """Send a saga that needs attention on, with fresh retries."""

    @extend_schema(request=RetrySaga, responses={202: SagaStarted}, operation_id="retry_saga")
    def post(self, request: Request, saga_id: str) -> Response:
        return _settle(request, saga_id, RetrySaga, commands.retry)


class SkipOneStep(APIView):
    """Take the step a saga is parked at as done by hand, and go on behind it."""

    @extend_schema(request=SkipStep, responses={202: SagaStarted}, operation_id="skip_saga_step")
    def post(self, request: Request, saga_id: str) -> Response:
        return _settle(request, saga_id, SkipStep, commands.skip)


class CloseOneSaga(APIView):
    """End a saga that needs attention where it stands: the rest was settled by hand."""

    @extend_schema(request=RetrySaga, responses={202: SagaStarted}, operation_id="close_saga")
    def post(self, request: Request, saga_id: str) -> Response:
        return _settle(request, saga_id, RetrySaga, commands.close)


def _settle(request: Request, saga_id: str, form: type[RetrySaga], act: Callable[..., Row]) -> Response:
    saga = access.find(request.user, saga_id)
    if not request.user.has_perm("sagas.retry_sagainstance"):
        raise PermissionDenied("Only an operator may settle a saga that needs attention.")
    wish = form(data=request.data or {})
    wish.is_valid(raise_exception=True)
    return _accepted(act(saga.pk, **wish.validated_data, actor=request.user.get_username()))


def _accepted(row: Row) -> Response:
    body = {
        "success": True, "saga_id": str(row.id), "status": row.status.value,
        "reason_code": row.reason_code or None, "reason": row.reason or None,
    }  # fmt: skip
    return Response(body, status=202, headers={"Location": f"/api/sagas/{row.id}"})
