"""A payment: one authorization for one order. Amounts are whole cents, with their currency beside them."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from payments.models.lengths import KEY_LENGTH, OWNER_LENGTH, PROVIDER_ID_LENGTH, REASON_LENGTH, TOKEN_LENGTH

PaymentId = uuid.UUID | str


class PaymentStatus(models.TextChoices):
    """
    PENDING    -> AUTHORIZED | DECLINED | VOIDING
    AUTHORIZED -> CAPTURING | VOIDING | EXPIRED
    CAPTURING  -> CAPTURED | EXPIRED | VOIDING
    VOIDING    -> VOIDED | CAPTURED (the capture was faster: refund it)
    CAPTURED   -> REFUNDED (when all of it was refunded)
    From VOIDING on, no authorization of this payment can be recorded or confirmed any more.
    """

    PENDING = "PENDING"
    AUTHORIZED = "AUTHORIZED"
    DECLINED = "DECLINED"
    CAPTURING = "CAPTURING"
    CAPTURED = "CAPTURED"
    VOIDING = "VOIDING"
    VOIDED = "VOIDED"
    EXPIRED = "EXPIRED"
    REFUNDED = "REFUNDED"


UNSETTLED = (PaymentStatus.PENDING, PaymentStatus.CAPTURING, PaymentStatus.VOIDING)
VOIDABLE = (PaymentStatus.PENDING, PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING, PaymentStatus.VOIDING)


class PaymentQuerySet(models.QuerySet["Payment"]):
    """All changes are compare-and-set. They return True if this call made the change, False if the row was not in a
    status that allows it."""

    def record_intent(self, payment_id: PaymentId, intent_id: str, *, status: PaymentStatus) -> bool:
        rows = self.filter(pk=payment_id, status=status, intent_id="")
        return rows.update(intent_id=intent_id, updated_at=timezone.now()) == 1

    def record_authorized(self, payment_id: PaymentId, *, capture_before: datetime | None) -> bool:
        rows = self.filter(pk=payment_id, status=PaymentStatus.PENDING)
        changed = rows.update(
            status=PaymentStatus.AUTHORIZED,
            authorized_cents=F("amount_cents"),
            capture_before=capture_before,
            updated_at=timezone.now(),
        )
        return changed == 1

    def record_declined(self, payment_id: PaymentId, decline_code: str, *, status: PaymentStatus) -> bool:
        rows = self.filter(pk=payment_id, status=status)
        changed = rows.update(status=PaymentStatus.DECLINED, decline_code=decline_code, updated_at=timezone.now())
        return changed == 1

    def claim_void(self, payment_id: PaymentId, *, reason: str = "", decline_code: str = "") -> bool:
        """Mark the payment VOIDING, also while it is being captured. An `authorize` that runs later stops there."""
        rows = self.filter(pk=payment_id, status__in=VOIDABLE)
        changes = {"status": PaymentStatus.VOIDING, "updated_at": timezone.now()}
        texts = {"reason": reason[:REASON_LENGTH], "decline_code": decline_code}
        return rows.update(**changes, **{field: text for field, text in texts.items() if text}) == 1

    def record_voided(self, payment_id: PaymentId) -> bool:
        rows = self.filter(pk=payment_id, status=PaymentStatus.VOIDING)
        return rows.update(status=PaymentStatus.VOIDED, updated_at=timezone.now()) == 1

    def claim_void_unless_captured(self, payment_id: PaymentId, *, reason: str) -> bool:
        """Mark the payment VOIDING if it is neither captured nor being captured."""
        rows = self.filter(pk=payment_id, status__in=(PaymentStatus.PENDING, PaymentStatus.AUTHORIZED))
        changed = rows.update(status=PaymentStatus.VOIDING, reason=reason[:REASON_LENGTH], updated_at=timezone.now())
        return changed == 1

    def record_expired(self, payment_id: PaymentId) -> bool:
        """The authorization lapsed, or somebody canceled it at the provider."""
        rows = self.filter(pk=payment_id, status__in=(PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURING))
        return rows.update(status=PaymentStatus.EXPIRED, updated_at=timezone.now()) == 1

    def claim_capture(self, payment_id: PaymentId, amount_cents: int) -> bool:
        """Mark the payment CAPTURING with this amount, which must not be above what is authorized."""
        rows = self.filter(pk=payment_id, status=PaymentStatus.AUTHORIZED, authorized_cents__gte=amount_cents)
        changed = rows.update(status=PaymentStatus.CAPTURING, capturing_cents=amount_cents, updated_at=timezone.now())
        return changed == 1

    def record_captured(self, payment_id: PaymentId, captured_cents: int, *, charge_id: str) -> bool:
        """Also from VOIDING: the provider may have captured before the void arrived, and the provider is right."""
        rows = self.filter(pk=payment_id, status__in=(PaymentStatus.CAPTURING, PaymentStatus.VOIDING))
        changed = rows.update(
            status=PaymentStatus.CAPTURED,
            captured_cents=captured_cents,
            authorized_cents=F("amount_cents"),
            charge_id=charge_id,
            updated_at=timezone.now(),
        )
        return changed == 1

    def claim_refund(self, payment_id: PaymentId, amount_cents: int) -> bool:
        """Reserve cents for one refund. All claims together are never more than what was captured."""
        rows = self.filter(
            pk=payment_id,
            status=PaymentStatus.CAPTURED,
            captured_cents__gte=F("refund_claimed_cents") + amount_cents,
        )
        changed = rows.update(refund_claimed_cents=F("refund_claimed_cents") + amount_cents, updated_at=timezone.now())
        return changed == 1

    def record_refunded(self, payment_id: PaymentId, amount_cents: int) -> None:
        """Add claimed cents to the refunded ones; REFUNDED when that is all that was captured."""
        self.filter(pk=payment_id).update(refunded_cents=F("refunded_cents") + amount_cents, updated_at=timezone.now())
        self.filter(pk=payment_id, status=PaymentStatus.CAPTURED, refunded_cents=F("captured_cents")).update(
            status=PaymentStatus.REFUNDED
        )

    def cancel_refund_claim(self, payment_id: PaymentId, amount_cents: int) -> None:
        """The provider refused the refund: its cents may be claimed again."""
        self.filter(pk=payment_id).update(refund_claimed_cents=F("refund_claimed_cents") - amount_cents)

    def rotate_key(self, payment_id: PaymentId, key_round: int) -> None:
        """Use the next key, because the provider stored a failure under this one."""
        self.filter(pk=payment_id, key_round=key_round).update(key_round=key_round + 1)


class Payment(models.Model):
    """One authorization for one order. Its id is generated when the order is placed, before anything else happens."""

    Status = PaymentStatus

    id = models.UUIDField(primary_key=True, editable=False)
    order_id = models.UUIDField(unique=True)
    owner = models.CharField(max_length=OWNER_LENGTH, blank=True)
    status = models.CharField(max_length=16, choices=PaymentStatus.choices, default=PaymentStatus.PENDING)
    currency = models.CharField(max_length=3)
    amount_cents = models.BigIntegerField()
    authorized_cents = models.BigIntegerField(default=0)
    capturing_cents = models.BigIntegerField(default=0)
    captured_cents = models.BigIntegerField(default=0)
    refund_claimed_cents = models.BigIntegerField(default=0)
    refunded_cents = models.BigIntegerField(default=0)
    payment_method_id = models.CharField(max_length=TOKEN_LENGTH, blank=True)
    intent_id = models.CharField(max_length=PROVIDER_ID_LENGTH, blank=True, default="")
    charge_id = models.CharField(max_length=PROVIDER_ID_LENGTH, blank=True, default="")
    idempotency_key = models.CharField(max_length=KEY_LENGTH)
    key_round = models.PositiveSmallIntegerField(default=0)
    decline_code = models.CharField(max_length=64, blank=True, default="")
    reason = models.CharField(max_length=REASON_LENGTH, blank=True, default="")
    capture_before = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = PaymentQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(status__in=PaymentStatus.values), name="payment_status_known"),
            models.CheckConstraint(
                condition=Q(amount_cents__gt=0) | Q(amount_cents=0, status=PaymentStatus.VOIDED),
                name="payment_amount_positive",
            ),
            models.CheckConstraint(
                condition=Q(authorized_cents=0) | Q(authorized_cents=F("amount_cents")),
                name="payment_authorized_nothing_or_all",
            ),
            models.CheckConstraint(
                condition=Q(captured_cents__gte=0, captured_cents__lte=F("authorized_cents")),
                name="payment_captured_within_authorized",
            ),
            models.CheckConstraint(
                condition=Q(refunded_cents__gte=0, refunded_cents__lte=F("refund_claimed_cents")),
                name="payment_refunded_within_claimed",
            ),
            models.CheckConstraint(
                condition=Q(refund_claimed_cents__lte=F("captured_cents")),
                name="payment_refunds_within_captured",
            ),
            models.CheckConstraint(
                condition=~Q(status=PaymentStatus.AUTHORIZED) | (~Q(intent_id="") & Q(authorized_cents__gt=0)),
                name="payment_authorized_has_intent",
            ),
            models.CheckConstraint(
                condition=~Q(status=PaymentStatus.REFUNDED) | Q(refunded_cents=F("captured_cents")),
                name="payment_refunded_is_all_of_it",
            ),
            models.UniqueConstraint(fields=["intent_id"], condition=~Q(intent_id=""), name="payment_intent_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["owner", "-created_at", "-id"], name="payment_of_owner"),
            models.Index(fields=["-created_at", "-id"], name="payment_newest"),
            models.Index(fields=["updated_at"], condition=Q(status__in=UNSETTLED), name="payment_unsettled"),
            models.Index(
                fields=["capture_before"], condition=Q(status=PaymentStatus.AUTHORIZED), name="payment_may_lapse"
            ),
        ]
        permissions: ClassVar = [
            ("move_money", "Can authorize, release, capture and refund payments and pay out escrow")
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.status}"

    def key(self, effect: str) -> str:
        """The idempotency key of one effect at the provider. It is derived, so a run after a crash uses the same."""
        return f"{self.idempotency_key}:{effect}:{self.key_round}"
