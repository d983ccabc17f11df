"""Who sent the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rest_framework.request import Request

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def user_of(request: Request) -> User:
    """The signed-in user; the default permission lets nobody else through."""
    return cast("User", request.user)
