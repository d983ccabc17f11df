"""What every view of an API in front of sagas inherits, so that it needs no settings of the project it is used in.

Only signed-in callers, JSON in and out, problem documents for errors, lists in pages with filters. How callers sign in,
how many requests they may send, and who else is refused stays the project's own choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.generics import ListAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.views import APIView

from sagas.rest import problems
from sagas.rest.access import user_of, visible
from sagas.rest.pagination import LinkHeaderPagination
from sagas.rest.parsers import BoundedJSONParser

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Row = TypeVar("Row", bound=Model)


class Endpoint(APIView):
    permission_classes: Any = (IsAuthenticated, *APIView.permission_classes)
    parser_classes: Any = (BoundedJSONParser,)
    renderer_classes: Any = (JSONRenderer,)

    def get_exception_handler(self) -> Callable[..., Any]:
        return problems.handler


class ListEndpoint(Endpoint, ListAPIView[Row]):
    """A list of the rows of `model` that a user may see: their own, or all with the permission to view them.

    `filterset_class` names the filters of the query; another `rows` decides otherwise who sees what.
    """

    model: ClassVar[type[Model]]
    pagination_class: Any = LinkHeaderPagination
    filter_backends: Any = (DjangoFilterBackend,)

    def rows(self, user: User) -> QuerySet[Row]:
        return visible(self._all(), user)

    def get_queryset(self) -> QuerySet[Row]:
        is_drawing_schema = getattr(self, "swagger_fake_view", False)  # there is no user then
        return self._all().none() if is_drawing_schema else self.rows(user_of(self.request))

    def _all(self) -> QuerySet[Row]:
        return self.model.objects.all()  # type: ignore[attr-defined, no-any-return] # every model here has `objects`
