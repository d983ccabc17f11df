"""Every list of the admin opens."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from campusg import accounts
from sagas.rest.readonly_admin import ReadOnlyAdmin

pytestmark = pytest.mark.django_db

LISTS = sorted(f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry)


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.mark.parametrize("name", LISTS)
def test_the_list_opens(boss: Client, name: str) -> None:
    assert boss.get(reverse(f"admin:{name}_changelist")).status_code == 200


READ_ONLY = sorted(
    f"{model._meta.app_label}_{model._meta.model_name}"
    for model, page in admin.site._registry.items()
    if isinstance(page, ReadOnlyAdmin)
)


def test_orders_money_timers_and_tokens_are_read_only() -> None:
    assert {"orders_order", "payments_payment", "timers_scheduledevent", "knox_authtoken"} <= set(READ_ONLY)


@pytest.mark.parametrize("name", READ_ONLY)
def test_what_is_read_only_cannot_be_added(boss: Client, name: str) -> None:
    assert boss.get(reverse(f"admin:{name}_add")).status_code == 403


def test_the_index_opens(boss: Client) -> None:
    assert boss.get("/admin/").status_code == 200


def test_a_token_is_listed_and_cannot_be_added(boss: Client) -> None:
    accounts.fresh_token(accounts.ensure_user("alice"))
    assert b"alice" in boss.get(reverse("admin:knox_authtoken_changelist")).content
    assert boss.get(reverse("admin:knox_authtoken_add")).status_code == 403


def test_a_customer_cannot_use_the_admin(client: Client) -> None:
    client.force_login(accounts.ensure_user("alice"))
    assert client.get("/admin/").status_code == 302


def test_the_admin_may_run_its_scripts_and_nothing_else_may(boss: Client) -> None:
    assert "'unsafe-eval'" in boss.get("/admin/")["Content-Security-Policy"]
    assert "'unsafe" not in boss.get("/api/sagas")["Content-Security-Policy"].split("script-src")[1].split(";")[0]


def test_the_api_documentation_opens_without_inline_scripts(client: Client) -> None:
    page = client.get("/api/docs").content.decode()
    assert "https://" not in page.split("</head>")[0]
    assert "<script>" not in page
