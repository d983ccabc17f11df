from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from campusg import accounts
from campusg.roles import Role


class Command(BaseCommand):
    help = "Prints a fresh API token for a user, and nothing else; makes the user when there is none."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--role", choices=[role.value for role in Role], help="default for a new user: customer")

    def handle(self, *, username: str, role: str | None, **_: Any) -> None:
        try:
            user = accounts.ensure_user(username, Role(role) if role else None)
            token = accounts.fresh_token(user)
        except DatabaseError as error:
            message = f"The database cannot be used ({error}). Has `manage.py up` or `manage.py migrate` run?"
            raise CommandError(message) from error
        self.stdout.write(token)
