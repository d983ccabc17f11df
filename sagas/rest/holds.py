"""Dependencies on hold over HTTP: look at them, put one on hold, release it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from sagas.holds import holds
from sagas.models import SagaInstance
from sagas.rest import access
from sagas.rest.access import user_of
from sagas.rest.bodies import StrictSerializer, read
from sagas.rest.endpoint import Endpoint
from sagas.rest.schema import extend_schema
from sagas.storage import Hold

HOLD = "sagas.hold_dependency"


class DependencyState(serializers.Serializer[Any]):
    """Something that steps use; the rest is about its last hold, if it ever was on hold."""

    dependency = serializers.CharField()
    is_on_hold = serializers.BooleanField()
    is_automatic = serializers.BooleanField(help_text="The circuit breaker put it on hold and will try it again.")
    sagas_waiting = serializers.IntegerField()
    reason = serializers.CharField(allow_null=True)
    actor = serializers.CharField(allow_null=True)
    held_at = serializers.DateTimeField(allow_null=True)
    next_probe_at = serializers.DateTimeField(allow_null=True)
    released_at = serializers.DateTimeField(allow_null=True)
    released_by = serializers.CharField(allow_null=True)
    per_second = serializers.FloatField(allow_null=True)


class HoldDependency(StrictSerializer):
    dependency = serializers.CharField(max_length=64)
    reason = serializers.CharField(max_length=500)


class ReleaseDependency(StrictSerializer):
    reason = serializers.CharField(max_length=500)
    per_second = serializers.FloatField(
        required=False, min_value=0.01, max_value=1000, help_text="How many sagas go on each second."
    )


class Holds(Endpoint):
    """What steps use, what of it is on hold, and how many sagas wait."""

    @extend_schema(responses=DependencyState(many=True), operation_id="list_holds")
    def get(self, request: Request) -> Response:
        if not access.sees_all(user_of(request), SagaInstance):
            raise PermissionDenied("Only users who see all sagas may see what they wait for.")
        return Response([DependencyState(state).data for state in holds.states()])

    @extend_schema(request=HoldDependency, responses={201: DependencyState}, operation_id="hold_dependency")
    def post(self, request: Request) -> Response:
        _require_operator(request)
        payload = read(HoldDependency, request.data or {})
        made = holds.hold_dependency(**payload, actor=request.user.get_username())
        return Response(_state(made), status=201)


class ReleaseOne(Endpoint):
    """Let the sagas that wait go on, so many a second."""

    @extend_schema(request=ReleaseDependency, responses=DependencyState, operation_id="release_dependency")
    def post(self, request: Request, dependency: str) -> Response:
        _require_operator(request)
        payload = read(ReleaseDependency, request.data or {})
        released = holds.release_dependency(dependency, **payload, actor=request.user.get_username())
        return Response(_state(released))


def _require_operator(request: Request) -> None:
    if not request.user.has_perm(HOLD):
        raise PermissionDenied("Only an operator may put a dependency on hold or release it.")


def _state(hold: Hold) -> Any:
    return DependencyState(holds.state(hold.dependency, hold, holds.waiting())).data
