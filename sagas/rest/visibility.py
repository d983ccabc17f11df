"""Which sagas a user may see: their own, or all of them with `sagas.view_sagainstance`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import QuerySet

from sagas.errors import UnknownSaga
from sagas.models import SagaInstance
from sagas.rest import access

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SEE_ALL = "sagas.view_sagainstance"


def sees_all(user: User) -> bool:
    return access.may(user, SEE_ALL)


def visible_to(user: User) -> QuerySet[SagaInstance]:
    return access.visible(SagaInstance.objects.all(), user, SEE_ALL)


def find(user: User, saga_id: str) -> SagaInstance:
    """The saga, if this user may know of it. Raises `UnknownSaga` for everything else."""
    return access.find(visible_to(user), saga_id, UnknownSaga, "saga")
