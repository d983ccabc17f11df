from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate

from campusg.celery import app as celery_app

__all__ = ["CampusgConfig", "celery_app"]


class CampusgConfig(AppConfig):
    name = "campusg"
    verbose_name = "CampusG"

    def ready(self) -> None:
        from campusg import checks

        checks.register_checks()
        post_migrate.connect(_give_roles_their_permissions)


def _give_roles_their_permissions(sender: AppConfig, **_: Any) -> None:
    """After a product app has its permissions. (This app has no models, so nothing is signalled for it.)"""
    from campusg import roles

    if sender.label in roles.PRODUCT_APPS:
        roles.ensure_roles()
