"""One key and one body are one piece of work and one answer, however often the request is sent.

The answer is written in the transaction that does the work, so a crash leaves both or neither. Refusals write nothing:
the same key may be used again once the cause is removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from orders.errors import IdempotencyInProgress, IdempotencyKeyReused
from orders.models import IdempotencyKey

KEPT_FOR = timedelta(days=7)
SWEEP_BATCH_SIZE = 1_000


@dataclass(frozen=True)
class Answer:
    """What the client is told; `is_replayed` marks an answer given before."""

    status_code: int
    body: dict[str, Any]
    location: str = ""
    is_replayed: bool = False


@dataclass(frozen=True)
class Request:
    """What identifies a request: who sent what where, under which key. An empty key makes every request a new one."""

    user: str
    method: str
    path: str
    key: str
    body: Any

    @property
    def body_sha256(self) -> str:
        canonical = json.dumps(self.body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def lock_number(self) -> int:
        identity = f"{self.user}\n{self.method}\n{self.path}\n{self.key}"
        return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big", signed=True)


def earlier_answer(request: Request) -> Answer | None:
    """The answer this request got before. Raises IdempotencyKeyReused if the key came with another body."""
    if not request.key:
        return None
    kept = IdempotencyKey.objects.filter(
        user=request.user, method=request.method, path=request.path, key=request.key
    ).first()
    if kept is None:
        return None
    if kept.body_sha256 != request.body_sha256:
        raise IdempotencyKeyReused("The key was sent before with a different body.")
    return Answer(kept.status_code, kept.response, kept.location, is_replayed=True)


@transaction.atomic
def once(request: Request, work: Callable[[], Answer]) -> Answer:
    """Do the work and keep its answer, in one transaction; or give the kept answer again."""
    if not request.key:
        return work()
    _claim(request)
    earlier = earlier_answer(request)
    if earlier is not None:
        return earlier
    answer = work()
    _keep(request, answer)
    return replace(answer, is_replayed=False)


def forget_old_answers(*, limit: int = SWEEP_BATCH_SIZE) -> int:
    """Drop answers nobody will ask for again; answers how many."""
    old = IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).order_by("created_at")
    deleted, _ = IdempotencyKey.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()
    return deleted


def _claim(request: Request) -> None:
    """Hold the key until the transaction ends. SQLite needs no claim: it has one writer at a time."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [request.lock_number])
        if not cursor.fetchone()[0]:
            raise IdempotencyInProgress("The first request has not been answered yet.")


def _keep(request: Request, answer: Answer) -> None:
    IdempotencyKey.objects.create(
        user=request.user,
        method=request.method,
        path=request.path,
        key=request.key,
        body_sha256=request.body_sha256,
        status_code=answer.status_code,
        location=answer.location,
        response=answer.body,
    )
