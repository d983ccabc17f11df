"""Who a caller is, and which rows they may see: their own, or all with the permission to view them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.contrib.auth import get_permission_codename
from django.db.models import Model, QuerySet

from sagas.errors import Problem

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.request import Request

Row = TypeVar("Row", bound=Model)
Rows = TypeVar("Rows", bound=QuerySet[Any])
SHOWN_OF_AN_ID = 64


def user_of(request: Request) -> User:
    """The signed-in user; `Endpoint` refuses all other callers."""
    return cast("User", request.user)


def may(user: User, permission: str) -> bool:
    """Staff may, and those who have the permission."""
    return bool(getattr(user, "is_staff", False)) or user.has_perm(permission)


def sees_all(user: User, model: type[Model]) -> bool:
    """Whether the user may see every row of a model: its Django permission to view."""
    options = model._meta  # noqa: SLF001 - Django documents it
    return may(user, f"{options.app_label}.{get_permission_codename('view', options)}")


def visible(rows: Rows, user: User) -> Rows:
    """The rows whose `owner` is this user; all of them for users who see all."""
    return rows if sees_all(user, rows.model) else rows.filter(owner=user.get_username())


def find(rows: QuerySet[Row], text: str, unknown: type[Problem], noun: str) -> Row:
    """The row with this id among those the caller may see.

    Raises `unknown`, always in the same words, for text that is no id, an unknown id, and a row of another user.
    """
    row = rows.filter(pk=wanted).first() if (wanted := _uuid(text)) else None
    if row is None:
        raise unknown(f"There is no {noun} {text[:SHOWN_OF_AN_ID]}.")
    return row


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
