"""Users for machines and for demonstrations: made on demand, without a password, with a token."""

from __future__ import annotations

import secrets

from django.contrib.auth.models import User
from django.db import transaction
from knox.models import AuthToken

from campusg import roles
from campusg.roles import Role
from payments import seed
from payments.gateways import is_sandbox


@transaction.atomic
def ensure_user(username: str, role: Role | None = None) -> User:
    """Return the user. A missing one is created as a customer, or in `role`; an existing one gets `role` added."""
    user, is_new = User.objects.get_or_create(username=username)
    if is_new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    if is_new or role is not None:
        roles.assign(user, role or Role.CUSTOMER)
    if is_new and role in {None, Role.CUSTOMER}:
        _give_test_card(user)
    return user


def _give_test_card(user: User) -> None:
    """In the sandbox every customer can pay; a real provider needs a real card."""
    if is_sandbox():
        seed.seed_demo(owner=user.username)


def fresh_token(user: User) -> str:
    """A new API token. Only its hash is stored, so this is the one time it can be read."""
    _, token = AuthToken.objects.create(user=user)
    return str(token)


def ensure_admin(username: str = "admin") -> str | None:
    """Make the admin user. Returns its new password, or None if the user exists already."""
    user, is_new = User.objects.get_or_create(username=username, defaults={"is_staff": True, "is_superuser": True})
    if not is_new:
        return None
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.save(update_fields=["password"])
    return password
