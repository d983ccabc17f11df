"""Which sagas a user may see: their own, or all of them with `sagas.view_sagainstance`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.db.models import QuerySet

from sagas.errors import UnknownSaga
from sagas.models import SagaInstance

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
    from django.contrib.auth.models import User as DjangoUser

    User = DjangoUser | AnonymousUser | AbstractBaseUser


def sees_all(user: User) -> bool:
    return bool(getattr(user, "is_staff", False)) or user.has_perm("sagas.view_sagainstance")  # type: ignore[union-attr]


def visible_to(user: User) -> QuerySet[SagaInstance]:
    sagas = SagaInstance.objects.all()
    return sagas if sees_all(user) else sagas.filter(owner=user.get_username())


def find(user: User, saga_id: str) -> SagaInstance:
    """The saga, if this user may know of it. Raises `UnknownSaga` for all else: no id, no saga, somebody else's."""
    try:
        wanted = uuid.UUID(saga_id)
    except ValueError:
        raise UnknownSaga(f"{saga_id[:64]!r} is no saga id.") from None
    saga = visible_to(user).filter(pk=wanted).first()
    if saga is None:
        raise UnknownSaga(f"There is no saga {wanted}.")
    return saga
