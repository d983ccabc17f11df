"""The timers API: set a timer, look at timers, cancel one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from sagas.rest.access import user_of
from sagas.rest.bodies import read
from sagas.rest.endpoint import Endpoint, ListEndpoint
from sagas.rest.schema import name_list
from timers import access, services
from timers.api.serializers import EventFilter, EventResponse, ExpiredTimer, ScheduleRequest
from timers.models import ScheduledEvent

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Schedule(Endpoint):
    """Set a timer. If the entity has one of this type already, that one is the answer."""

    @extend_schema(request=ScheduleRequest, responses={201: EventResponse}, operation_id="schedule_event")
    def post(self, request: Request) -> Response:
        user = user_of(request)
        if not access.may_schedule(user):
            raise PermissionDenied("Only operators and trusted services set timers.")
        event = services.schedule(**read(ScheduleRequest, request.data), owner=user.get_username())
        location = reverse("event", kwargs={"event_id": event.pk})
        return Response(EventResponse(event).data, status=201, headers={"Location": location})


@name_list("list_events")
class Events(ListEndpoint[ScheduledEvent]):
    """Scheduled events, newest first. The next page is in the `Link` header."""

    model = ScheduledEvent
    serializer_class = EventResponse
    filterset_class = EventFilter


class OneEvent(Endpoint):
    @extend_schema(responses=EventResponse, operation_id="read_event")
    def get(self, request: Request, event_id: str) -> Response:
        return Response(EventResponse(access.find(user_of(request), event_id)).data)


class CancelEvent(Endpoint):
    """Cancel a timer before it fires."""

    @extend_schema(request=None, responses=EventResponse, operation_id="cancel_event")
    def post(self, request: Request, event_id: str) -> Response:
        event = access.find(user_of(request), event_id)
        if not access.may_cancel(user_of(request)):
            raise PermissionDenied("Only operators and trusted services cancel timers.")
        return Response(EventResponse(services.cancel_event(event_id=str(event.pk))).data)


class ForCancellation(ListEndpoint[ScheduledEvent]):
    """Acceptance timers whose time has passed and that nothing has acted on yet, oldest first."""

    model = ScheduledEvent
    serializer_class = ExpiredTimer
    pagination_class = None

    def rows(self, user: User) -> QuerySet[ScheduledEvent]:
        overdue = access.visible_to(user).overdue(event_type=settings.ORDER_ACCEPTANCE_EVENT)
        return overdue.order_by("scheduled_at")[: services.SWEEP_BATCH_SIZE]
