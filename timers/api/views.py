"""The timers API: set an alarm, look at alarms, switch one off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.db.models import QuerySet
from django.http import QueryDict
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from timers import access, services
from timers.api.serializers import EventFilter, EventResponse, ExpiredTimer, ScheduleRequest
from timers.models import ScheduledEvent

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_COLUMNS = {
    "status": "status__in",
    "event_type": "event_type",
    "entity_id": "entity_id",
    "due_before": "scheduled_at__lte",
    "due_after": "scheduled_at__gte",
}


class Schedule(APIView):
    """Set an alarm. Setting one that is set already answers with the one that is."""

    @extend_schema(request=ScheduleRequest, responses={201: EventResponse}, operation_id="schedule_event")
    def post(self, request: Request) -> Response:
        if not access.may_schedule(user_of(request)):
            raise PermissionDenied("Only operators and trusted services set alarms.")
        wish = ScheduleRequest(data=request.data)
        wish.is_valid(raise_exception=True)
        event = services.schedule(**wish.validated_data, owner=user_of(request).get_username())
        return Response(EventResponse(event).data, status=201, headers={"Location": f"/api/events/{event.pk}"})


class Events(ListAPIView[ScheduledEvent]):
    """Scheduled events, newest first. The next page is in the `Link` header."""

    serializer_class = EventResponse
    filter_backends = ()

    def get_queryset(self) -> QuerySet[ScheduledEvent]:
        if getattr(self, "swagger_fake_view", False):
            return ScheduledEvent.objects.none()
        query = _query(self.request.query_params)
        return access.visible_to(user_of(self.request)).filter(**{_COLUMNS[name]: query[name] for name in query})

    @extend_schema(parameters=[EventFilter], operation_id="list_events")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


def _query(params: QueryDict) -> dict[str, Any]:
    given: dict[str, Any] = {name: params[name] for name in _COLUMNS if name in params and name != "status"}
    if "status" in params:
        given["status"] = [part for text in params.getlist("status") for part in text.split(",") if part.strip()]
    wish = EventFilter(data=given)
    wish.is_valid(raise_exception=True)
    return dict(wish.validated_data)


class OneEvent(APIView):
    @extend_schema(responses=EventResponse, operation_id="read_event")
    def get(self, request: Request, event_id: str) -> Response:
        return Response(EventResponse(access.find(user_of(request), event_id)).data)


class CancelEvent(APIView):
    """Switch an alarm off before it rings."""

    @extend_schema(request=None, responses=EventResponse, operation_id="cancel_event")
    def post(self, request: Request, event_id: str) -> Response:
        event = access.find(user_of(request), event_id)
        if not access.may_cancel(user_of(request)):
            raise PermissionDenied("Only operators and trusted services switch alarms off.")
        return Response(EventResponse(services.cancel_event(event_id=str(event.pk))).data)


class ForCancellation(ListAPIView[ScheduledEvent]):
    """Acceptance timers whose time has passed and that nothing has acted on yet, oldest first."""

    serializer_class = ExpiredTimer
    filter_backends = ()
    pagination_class = None

    def get_queryset(self) -> QuerySet[ScheduledEvent]:
        if getattr(self, "swagger_fake_view", False):
            return ScheduledEvent.objects.none()
        overdue = access.visible_to(user_of(self.request)).overdue(event_type=settings.ORDER_ACCEPTANCE_EVENT)
        return overdue.order_by("scheduled_at")[: services.SWEEP_BATCH_SIZE]


def user_of(request: Request) -> User:
    """The signed-in user; the default permission lets nobody else through."""
    return cast("User", request.user)
