"""The request headers of the API: read, and described for its schema."""

from __future__ import annotations

import re
from collections.abc import Callable

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from sagas.rest.schema import header

MAX_KEY_LENGTH = 255
MAX_WAIT_SECONDS = 30
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?:$|[,;\s])", re.IGNORECASE)

KEY_HEADER = header("Idempotency-Key", "Repeat a request with its key: it is done once, and gets the same answer.")
MATCH_HEADER = header("If-Match", "The preview's ETag: cancel only if nothing has changed since.")
CANCEL_HEADERS = [KEY_HEADER, MATCH_HEADER]
WAIT_HEADER = header("Prefer", f"`wait=10` answers when the saga has ended, at most {MAX_WAIT_SECONDS} s.")


def idempotency_key(request: Request) -> str:
    """The key that makes repeating this request safe; empty if there is none. Raises ValidationError."""
    key: str = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > MAX_KEY_LENGTH or not (key.isascii() and (key.isprintable() or not key)):
        raise ValidationError({"Idempotency-Key": f"Use at most {MAX_KEY_LENGTH} printable ASCII characters."})
    return key


def wait_seconds(request: Request) -> int:
    """How long the client prefers to wait for the end (RFC 7240), at most `MAX_WAIT_SECONDS`; 0 if it does not."""
    match = _WAIT.search(request.headers.get("Prefer", ""))
    return min(int(match.group(1)), MAX_WAIT_SECONDS) if match else 0


def etag(tag: str) -> dict[str, str]:
    """The header of a preview whose state is named `tag`."""
    return {"ETag": f'"{tag}"'}


def check_precondition(request: Request, require_unchanged: Callable[[str], None]) -> None:
    """Call `require_unchanged` with the preview's tag that `If-Match` names, if it names one."""
    tag = str(request.headers.get("If-Match", "")).strip().removeprefix("W/").strip('"')
    if tag:
        require_unchanged(tag)
