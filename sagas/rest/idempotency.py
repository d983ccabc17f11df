"""One key and one body are one piece of work and one answer, however often the request is sent.

The answer is kept under the key. A refusal keeps nothing: the same key may be used again once the cause is removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from sagas.errors import Refusal
from sagas.models import IdempotencyKey

__all__ = [
    "Answer", "IdempotencyInProgress", "IdempotencyKey", "IdempotencyKeyReused", "KeyedRequest", "earlier_answer",
    "forget_old_answers", "once", "repeatable",
]  # fmt: skip

KEPT_FOR = timedelta(days=7)
SWEEP_BATCH_SIZE = 1_000


class IdempotencyKeyReused(Refusal):
    code = "idempotency.key_reused"
    status = 422
    title = "This Idempotency-Key belongs to a different request"
    advice = "Use a new key for a new request, and the same body for a repeated one."


class IdempotencyInProgress(Refusal):
    code = "idempotency.in_progress"
    status = 409
    title = "The first request with this Idempotency-Key is still running"
    advice = "Send the same request again in a second; it will get the first one's answer."


@dataclass(frozen=True)
class Answer:
    """What the client gets; `is_replayed` marks an answer given before."""

    status_code: int
    body: dict[str, Any]
    location: str = ""
    is_replayed: bool = False


@dataclass(frozen=True)
class KeyedRequest:
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


def earlier_answer(request: KeyedRequest) -> Answer | None:
    """The answer this request got before. Raises IdempotencyKeyReused if the key came with another body."""
    kept = _kept(request).first() if request.key else None
    if kept is None:
        return None
    if kept.body_sha256 != request.body_sha256:
        raise IdempotencyKeyReused("The key was sent before with a different body.")
    return Answer(kept.status_code, kept.response, kept.location, is_replayed=True)


@transaction.atomic
def once(request: KeyedRequest, work: Callable[[], Answer]) -> Answer:
    """Do the work and keep its answer in one transaction, so that a crash leaves both or neither; or give the kept one.

    Raises IdempotencyKeyReused, and IdempotencyInProgress while the first request with the key still runs.
    """
    if not request.key:
        return work()
    _claim(request)
    earlier = earlier_answer(request)
    if earlier is not None:
        return earlier
    answer = work()
    _row(request, answer).save(force_insert=True)
    return answer


def repeatable(request: KeyedRequest, work: Callable[[], Answer]) -> Answer:
    """For work that commits by itself and is safe to repeat: do it, then keep its answer; or give the kept one.

    After a crash between the two the repeated request does the work again, which changes nothing. Raises
    IdempotencyKeyReused.
    """
    earlier = earlier_answer(request)
    if earlier is not None:
        return earlier
    answer = work()
    if request.key:  # of two equal requests at the same moment one answer is kept
        IdempotencyKey.objects.bulk_create([_row(request, answer)], ignore_conflicts=True)
    return answer


def forget_old_answers(*, limit: int = SWEEP_BATCH_SIZE) -> int:
    """Delete answers older than `KEPT_FOR`, at most `limit`; returns how many."""
    old = IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).order_by("created_at")
    deleted, _ = IdempotencyKey.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()
    return deleted


def _kept(request: KeyedRequest) -> QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.filter(user=request.user, method=request.method, path=request.path, key=request.key)


def _claim(request: KeyedRequest) -> None:
    """Hold the key until the transaction ends. SQLite needs no claim: it has one writer at a time."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [request.lock_number])
        if not cursor.fetchone()[0]:
            raise IdempotencyInProgress("The first request has not been answered yet.")


def _row(request: KeyedRequest, answer: Answer) -> IdempotencyKey:
    return IdempotencyKey(
        user=request.user,
        method=request.method,
        path=request.path,
        key=request.key,
        body_sha256=request.body_sha256,
        status_code=answer.status_code,
        location=answer.location,
        response=answer.body,
    )
