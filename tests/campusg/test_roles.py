"""The permissions of the groups."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group

from campusg import roles
from campusg.roles import Role

pytestmark = pytest.mark.django_db


def codenames(role: Role) -> set[str]:
    return set(Group.objects.get(name=role.value).permissions.values_list("codename", flat=True))


def test_every_role_exists_after_a_migration() -> None:
    assert set(Group.objects.values_list("name", flat=True)) >= {role.value for role in Role}


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.RUNNER, Role.RESTAURANT])
def test_customers_runners_and_restaurants_have_no_permissions(role: Role) -> None:
    assert codenames(role) == set()


def test_a_service_sees_everything_sets_timers_and_moves_money() -> None:
    seen = {name for name in codenames(Role.SERVICE) if name.startswith("view_")}
    assert "view_sagainstance" in seen
    acts = {"schedule_scheduledevent", "cancel_scheduledevent", "move_money"}
    assert set(codenames(Role.SERVICE)) - seen == acts


def test_an_operator_edits_no_row_by_hand() -> None:
    assert "view_order" in codenames(Role.OPERATOR)
    assert not [name for name in codenames(Role.OPERATOR) if name.startswith(("add_", "change_", "delete_"))]


def test_ensuring_the_roles_twice_changes_nothing() -> None:
    before = codenames(Role.OPERATOR)
    roles.ensure_roles()
    assert codenames(Role.OPERATOR) == before
