"""Who may do what: five groups, each with its permissions.

The apps look at permissions and at `is_staff`, not at groups, so an installation may add groups of its own.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PRODUCT_APPS = ("orders", "payments", "timers", "sagas")


class Role(enum.StrEnum):
    """A customer owns orders, a runner brings them, a restaurant makes them, an operator looks after all of it, and a
    service is another program that may act for customers."""

    CUSTOMER = "customer"
    RUNNER = "runner"
    RESTAURANT = "restaurant"
    OPERATOR = "operator"
    SERVICE = "service"


#: What a role may do beyond its own objects.
PERMISSIONS: dict[Role, Q] = {
    Role.OPERATOR: ~Q(codename__regex=r"^(add|change|delete)_"),
    Role.SERVICE: Q(codename__startswith="view_")
    | Q(codename__in=["schedule_scheduledevent", "cancel_scheduledevent", "move_money"]),
}


def ensure_roles() -> None:
    """Create the groups and give them exactly their permissions. Safe to repeat."""
    for role in Role:
        group, _ = Group.objects.get_or_create(name=role.value)
        if role in PERMISSIONS:
            group.permissions.set(
                Permission.objects.filter(PERMISSIONS[role], content_type__app_label__in=PRODUCT_APPS)
            )


def assign(user: User, role: Role) -> None:
    """Make `user` hold `role`; an operator may also use the admin."""
    user.groups.add(Group.objects.get(name=role.value))
    if role is Role.OPERATOR and not user.is_staff:
        user.is_staff = True
        user.save(update_fields=["is_staff"])
