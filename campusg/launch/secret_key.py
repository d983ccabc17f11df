"""The secret of an installation on one host: made once, readable by its owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def find(path: Path, *, may_create: bool) -> str:
    """The secret kept in `path`. Raises `ImproperlyConfigured` if there is none and none may be made."""
    if may_create or path.exists():
        return load_or_create(path)
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. With BROKER_URL set every process needs the same secret: put 50 or more random "
        "characters into SECRET_KEY (python3 -c 'import secrets; print(secrets.token_urlsafe(64))')."
    )


def load_or_create(path: Path) -> str:
    """The secret kept in `path`; the first process to come makes it, complete or not at all."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(64))
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    return path.read_text()
