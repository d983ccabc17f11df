"""What `manage.py up` puts into an empty installation, and what it tells its user."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

from campusg import accounts
from campusg.roles import Role

DEMO_CUSTOMER = "demo"


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in. The admin's password is known only when the admin was made just now."""

    token: str
    admin_password: str | None


def seed() -> Access:
    """Menu, stock, admin and a customer with a card. Safe to repeat."""
    from orders.seed import seed_demo

    seed_demo()
    accounts.ensure_user(DEMO_CUSTOMER, Role.CUSTOMER)
    return Access(token=_lasting_token(settings.VAR_DIR / "demo_token"), admin_password=accounts.ensure_admin())


def _lasting_token(path: Path) -> str:
    """The demo customer's token outlives a restart, so that a copied curl goes on working."""
    with contextlib.suppress(FileNotFoundError, AuthenticationFailed):
        token = path.read_text()
        TokenAuthentication().authenticate_credentials(token.encode())
        return token
    token = accounts.fresh_token(accounts.ensure_user(DEMO_CUSTOMER))
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token


def banner(url: str, access: Access | None, *, is_public: bool = False) -> str:
    lines = ["", f"CampusG is up: {_how()}.", ""]
    if is_public:
        names = ", ".join(settings.ALLOWED_HOSTS)
        lines += [f"  It listens beyond this machine and answers to: {names} (CAMPUSG_ALLOWED_HOSTS).", ""]
    lines += [f"  API docs  {url}/api/docs", f"  Admin     {url}/admin/{_admin_hint(access)}"]
    if access is not None:
        lines += [f"  Token     {access.token}   (customer {DEMO_CUSTOMER!r})", "", "Order something:", ""]
        lines += [f"  {line}" for line in _curl(url, access.token)]
    return "\n".join([*lines, "", "Stop with Ctrl-C.", ""])


def _how() -> str:
    if settings.EMBEDDED:
        return "web, worker and beat in one process, in-process broker, state in " + str(settings.VAR_DIR)
    return "separate web, worker and beat processes on your broker and database"


def _admin_hint(access: Access | None) -> str:
    if access is None:
        return ""
    if access.admin_password is None:
        return "   (user admin; forgotten the password? python3 manage.py changepassword admin)"
    return f"   (user admin, password {access.admin_password} - shown only now)"


def _curl(url: str, token: str) -> list[str]:
    line = '{"productId": "product-guid", "productName": "Laptop", "quantity": 1, "price": 1299.99}'
    body = f'{{"userId": "demo", "items": [{line}]}}'
    return [
        f"curl -s {url}/api/orders \\",
        f"  -H 'Authorization: Token {token}' \\",
        "  -H 'Content-Type: application/json' \\",
        f"  -d '{body}'",
    ]
