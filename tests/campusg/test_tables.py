"""What a test leaves behind for the next one: nothing."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User

from campusg.roles import Role
from tests.tables import Prefilled, prefilled_rows

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_a_test_commits_is_removed_and_what_migrations_wrote_stays(prefilled: Prefilled) -> None:
    before = prefilled_rows()
    user = User.objects.create(username="ann")
    group = Group.objects.create(name="cooks")
    group.permissions.set(Permission.objects.all()[:3])
    user.groups.add(group)
    prefilled.restore()
    assert not User.objects.exists()
    assert prefilled_rows() == before


def test_a_role_that_a_test_changes_gets_its_permissions_back(prefilled: Prefilled) -> None:
    operator = Group.objects.get(name=Role.OPERATOR.value)
    permissions = set(operator.permissions.values_list("codename", flat=True))
    operator.permissions.clear()
    prefilled.restore()
    restored = Group.objects.get(name=Role.OPERATOR.value)
    assert set(restored.permissions.values_list("codename", flat=True)) == permissions != set()
