"""What a client may ask for in headers: `Idempotency-Key`, `Prefer: wait=N` and `If-Match`."""

from __future__ import annotations

import re

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

MAX_KEY_LENGTH = 255
MAX_WAIT_SECONDS = 30
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?:$|[,;\s])", re.IGNORECASE)


def idempotency_key(request: Request) -> str:
    """The key a client gives a request so that repeating it is safe; empty if there is none."""
    key: str = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > MAX_KEY_LENGTH or not (key.isascii() and (key.isprintable() or not key)):
        raise ValidationError({"Idempotency-Key": f"Use at most {MAX_KEY_LENGTH} printable ASCII characters."})
    return key


def wait_seconds(request: Request) -> int:
    """How long the client would rather wait for the end than poll (RFC 7240); 0 if it did not say."""
    match = _WAIT.search(request.headers.get("Prefer", ""))
    return min(int(match.group(1)), MAX_WAIT_SECONDS) if match else 0


def if_match(request: Request) -> str:
    """The state the client has seen, from a preview's `ETag`; empty if it does not care."""
    return str(request.headers.get("If-Match", "")).strip().removeprefix("W/").strip('"')
