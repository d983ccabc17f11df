"""Users, tokens and schedules in the look of the rest of the admin."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django_celery_beat import models as beat
from django_celery_beat.admin import PeriodicTaskAdmin as BeatPeriodicTaskAdmin
from knox.models import AuthToken
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from sagas.rest.readonly_admin import ReadOnlyAdmin

for model in (
    User,
    Group,
    AuthToken,
    beat.PeriodicTask,
    beat.IntervalSchedule,
    beat.CrontabSchedule,
    beat.SolarSchedule,
    beat.ClockedSchedule,
):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "roles", "is_staff", "is_active", "last_login")
    list_filter = ("groups", "is_staff", "is_active")

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all())


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    pass


@admin.register(AuthToken)
class TokenAdmin(ReadOnlyAdmin):
    """Tokens can be revoked here. They are made by `manage.py token`, the only moment at which they can be read."""

    list_display = ("user", "token_key", "created", "expiry")
    search_fields = ("user__username", "token_key")
    list_filter = ("created", "expiry")

    def has_delete_permission(self, request: HttpRequest, obj: AuthToken | None = None) -> bool:
        return bool(ModelAdmin.has_delete_permission(self, request, obj))


@admin.register(beat.PeriodicTask)
class PeriodicTaskAdmin(BeatPeriodicTaskAdmin, ModelAdmin):  # type: ignore[misc]
    """Intervals of the built-in sweeps come from the settings at each start of beat; only `enabled` stays as edited."""


@admin.register(beat.IntervalSchedule)
class IntervalAdmin(ModelAdmin):  # type: ignore[misc]
    pass
