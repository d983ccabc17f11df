"""The tables of the engine: where each saga stands, everything that happened to it, and what it must wait for."""

from __future__ import annotations

from typing import ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from sagas.ids import uuid7
from sagas.statuses import FINAL, OPEN, Action, Direction, Phase, Status


def _same(one: Q, other: Q) -> Q:
    """Both hold, or neither does."""
    return one & other | ~one & ~other


_BACK = ("COMPENSATING", "CANCELLING", "COMPENSATED", "CANCELLED", "FAILED")
#: Which phases and directions fit the other columns.
PHASE_FITS = (
    Q(phase__in=Phase.values)
    & _same(Q(phase="DONE"), Q(status__in=[status.value for status in FINAL]))
    & _same(Q(phase="PARKED"), Q(status="NEEDS_ATTENTION"))
    & _same(Q(phase="HELD"), ~Q(held_by=""))
    & _same(Q(phase="RUNNING"), Q(lease_token__isnull=False))
)
DIRECTION_FITS = _same(
    Q(direction="BACK"),
    Q(status__in=_BACK) | Q(status="NEEDS_ATTENTION", resume_status__in=("COMPENSATING", "CANCELLING")),
) & Q(direction__in=Direction.values)


class SagaInstance(models.Model):
    """One saga. Written by `sagas.storage` only; everything else reads.

    `position` is the step to do next (going forward) or to undo next (going back), counted from 0. `epoch` fences:
    every change of direction and every retry raises it, and messages of an older epoch do nothing. `attempt`
    counts tries of the current step, `dispatches` how often its message was sent again since the last recorded fact,
    `seq` the events. `may_have_run` says that an earlier try of the call at `position` ended without a known answer.
    `held_by` names the dependency on hold that the saga waits for. `data` is `{"input": …, "results": {step: …}}`.
    `state_seq` is the `seq` at which direction, phase and `may_have_run` were written: a process of the release before
    leaves it behind, and then they are inferred (`sagas.storage.legacy`).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    version = models.PositiveSmallIntegerField(default=1)
    key = models.CharField(max_length=255, unique=True, help_text="Starting twice with one key is one saga.")
    subject = models.CharField(max_length=64, help_text="What the saga is about, such as an order id.")
    owner = models.CharField(max_length=150, blank=True, help_text="The user who may see it.")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.STARTED.value)
    direction = models.CharField(
        max_length=8, choices=Direction.choices, default=Direction.FORWARD.value, db_default=Direction.FORWARD.value
    )
    phase = models.CharField(
        max_length=8, choices=Phase.choices, default=Phase.READY.value, db_default=Phase.READY.value
    )
    may_have_run = models.BooleanField(default=False, db_default=False)
    state_seq = models.PositiveIntegerField(default=0, db_default=0)
    resume_status = models.CharField(max_length=16, blank=True, help_text="What a parked saga goes back to on retry.")
    position = models.SmallIntegerField(default=0)
    epoch = models.PositiveIntegerField(default=1)
    attempt = models.PositiveSmallIntegerField(default=0)
    dispatches = models.PositiveSmallIntegerField(default=0, db_column="drives")
    seq = models.PositiveIntegerField(default=0)
    data = models.JSONField(default=dict)
    reason_code = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)
    actor = models.CharField(max_length=150, blank=True, db_default="", help_text="Who cancelled it.")
    cancel_key = models.CharField(
        max_length=410, blank=True, db_default="", help_text="The Idempotency-Key of the request that cancelled it."
    )
    error = models.TextField(blank=True)
    lease_token = models.BigIntegerField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    wake_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    held_by = models.CharField(max_length=64, blank=True, default="", db_default="")
    held_since = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True, help_text="When a parked saga is retried by itself.")
    auto_retries = models.PositiveSmallIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "saga"
        verbose_name_plural = "sagas"
        ordering: ClassVar = ["-created_at", "-id"]
        permissions: ClassVar = [
            ("cancel_sagainstance", "Can cancel any saga"),
            ("retry_sagainstance", "Can retry a saga that needs attention"),
        ]
        indexes: ClassVar = [
            models.Index(name="saga_due", fields=["wake_at"], condition=Q(wake_at__isnull=False)),
            models.Index(name="saga_by_status", fields=["status", "created_at"]),
            models.Index(name="saga_by_creation", fields=["created_at", "id"]),
            models.Index(name="saga_by_owner", fields=["owner", "created_at"]),
            models.Index(name="saga_by_subject", fields=["subject"]),
            models.Index(name="saga_retry_due", fields=["retry_at"], condition=Q(retry_at__isnull=False)),
            models.Index(name="saga_held", fields=["held_by", "held_since"], condition=~Q(held_by="")),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name="saga_status_known", condition=Q(status__in=Status.values)),
            models.CheckConstraint(
                name="saga_open_has_wake_at",
                condition=Q(status__in=OPEN, wake_at__isnull=False) | ~Q(status__in=OPEN) & Q(wake_at__isnull=True),
            ),
            models.CheckConstraint(
                name="saga_final_has_finished_at",
                condition=Q(status__in=FINAL, finished_at__isnull=False)
                | ~Q(status__in=FINAL) & Q(finished_at__isnull=True),
            ),
            models.CheckConstraint(
                name="saga_parked_has_reason",
                condition=~Q(status=Status.NEEDS_ATTENTION) | ~Q(error="") & ~Q(resume_status=""),
            ),
            models.CheckConstraint(
                name="saga_lease_whole",
                condition=Q(lease_token__isnull=True, lease_until__isnull=True)
                | Q(lease_token__isnull=False, lease_until__isnull=False),
            ),
            models.CheckConstraint(
                name="saga_hold_whole",
                condition=Q(held_by="", held_since__isnull=True) | ~Q(held_by="") & Q(held_since__isnull=False),
            ),
            models.CheckConstraint(name="saga_phase_fits", condition=~Q(state_seq=F("seq")) | PHASE_FITS),
            models.CheckConstraint(name="saga_direction_fits", condition=~Q(state_seq=F("seq")) | DIRECTION_FITS),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class SagaEvent(models.Model):
    """One fact about a saga: its history, its audit trail and its outbox in one append-only table.

    `seq` numbers a saga's events without gaps. `type` names the event published to others (`order.created`); facts
    that concern only the engine have none. `subject_sequence` numbers the published events of a subject over all its
    sagas. `saga_status` and `position` are the saga's after the event, so that replaying the events gives the row.
    """

    saga_id = models.UUIDField()
    seq = models.PositiveIntegerField()
    action = models.CharField(max_length=32, choices=Action.choices)
    step = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=16)
    message = models.TextField(blank=True)
    type = models.CharField(max_length=100, blank=True)
    payload = models.JSONField(null=True, blank=True)
    actor = models.CharField(max_length=150, blank=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    epoch = models.PositiveIntegerField()
    position = models.SmallIntegerField()
    saga_status = models.CharField(max_length=16, choices=Status.choices)
    created_at = models.DateTimeField()
    subject_sequence = models.PositiveIntegerField(null=True, blank=True, help_text="Given by the relay.")
    published_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["saga_id", "seq"]
        indexes: ClassVar = [
            models.Index(
                name="saga_event_unpublished", fields=["id"], condition=Q(published_at__isnull=True) & ~Q(type="")
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(name="saga_event_seq", fields=["saga_id", "seq"]),
            models.CheckConstraint(name="saga_event_seq_from_one", condition=Q(seq__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.saga_id} #{self.seq} {self.action}"


class SagaHold(models.Model):
    """One time a dependency was on hold: from when to when, by whom and why. Written by `sagas.holds` only.

    `probe_saga_id` is the one saga that may pass, to probe whether the dependency works again; only an automatic hold
    has one. `resumed_until` is the moment up to which the sagas that waited go on, `per_second` of them each second.
    """

    dependency = models.CharField(max_length=64)
    reason = models.CharField(max_length=500)
    actor = models.CharField(max_length=150)
    is_automatic = models.BooleanField(default=False)
    held_at = models.DateTimeField()
    probe_at = models.DateTimeField(null=True, blank=True)
    probe_saga_id = models.UUIDField(null=True, blank=True)
    probes = models.PositiveSmallIntegerField(default=0)
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.CharField(max_length=150, blank=True)
    release_reason = models.CharField(max_length=500, blank=True)
    per_second = models.FloatField(null=True, blank=True)
    resumed_until = models.DateTimeField(null=True, blank=True, db_column="ramped_at")

    class Meta:
        verbose_name = "hold"
        ordering: ClassVar = ["-held_at"]
        permissions: ClassVar = [("hold_dependency", "Can put a dependency on hold and release it")]
        indexes: ClassVar = [models.Index(name="saga_hold_latest", fields=["dependency", "-held_at"])]
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="saga_hold_once", fields=["dependency"], condition=Q(released_at__isnull=True)
            ),
            models.CheckConstraint(name="saga_hold_has_reason", condition=~Q(reason="") & ~Q(actor="")),
            models.CheckConstraint(
                name="saga_hold_probed_if_automatic",
                condition=Q(is_automatic=True, probe_at__isnull=False)
                | Q(is_automatic=False, probe_at__isnull=True, probe_saga_id__isnull=True),
            ),
            models.CheckConstraint(
                name="saga_hold_released_whole",
                condition=Q(released_at__isnull=True, released_by="", per_second__isnull=True)
                | Q(released_at__isnull=False, per_second__gt=0) & ~Q(released_by=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.dependency} since {self.held_at:%d %b %H:%M:%S}"


class SagaDependency(models.Model):
    """How many calls of a dependency failed in a row; what the circuit breaker counts."""

    name = models.CharField(max_length=64, primary_key=True)
    failures = models.PositiveIntegerField(default=0, db_column="troubles")
    first_failure_at = models.DateTimeField(db_column="first_trouble_at")

    def __str__(self) -> str:
        return f"{self.name}: {self.failures} failures in a row"


class SagaDefinition(models.Model):
    """A definition as it was when first seen, in what sagas under way rely on.

    Written by `sagas.engine.versions` only.
    """

    name = models.CharField(max_length=100)
    version = models.PositiveSmallIntegerField()
    digest = models.CharField(max_length=64)
    shape = models.JSONField()
    first_seen_at = models.DateTimeField()

    class Meta:
        verbose_name = "definition"
        ordering: ClassVar = ["name", "version"]
        constraints: ClassVar = [models.UniqueConstraint(name="saga_definition_once", fields=["name", "version"])]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


class IdempotencyKey(models.Model):
    """The answer a request got, kept under its `Idempotency-Key` by `sagas.rest.idempotency`.

    `path` is the documented address; `body_sha256` tells a repeated request from another one with the same key.
    """

    user = models.CharField(max_length=150)
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    status_code = models.PositiveSmallIntegerField()
    location = models.CharField(max_length=200, blank=True, default="")
    response = models.JSONField(encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "orders_idempotencykey"  # where the release before keeps them, which may still be running
        indexes: ClassVar = [models.Index(fields=["created_at"], name="orders_idempotency_age")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "method", "path", "key"], name="orders_idempotency_once"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.key}"
