"""The ledger: every row moves whole cents from one account to another.

A row has both sides, so it always balances: no statement can write half of it. Triggers in the database (migration
0003) refuse to change or delete rows.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Right
from django.db.models.lookups import Exact
from django.utils import timezone

from payments.models.lengths import KEY_LENGTH, OWNER_LENGTH

CURRENCY_LENGTH = 3
ACCOUNT_ID_LENGTH = OWNER_LENGTH + 32


class AccountKind(models.TextChoices):
    CUSTOMER = "customer"
    ESCROW = "escrow"
    RESTAURANT = "restaurant"
    RUNNER = "runner"
    PLATFORM = "platform"


class LedgerAccount(models.Model):
    """The id is `kind:holder:currency`, so that a CHECK can compare the currency of both sides of an entry."""

    id = models.CharField(max_length=ACCOUNT_ID_LENGTH, primary_key=True)
    kind = models.CharField(max_length=16, choices=AccountKind.choices)
    holder = models.CharField(max_length=OWNER_LENGTH, blank=True, default="")
    currency = models.CharField(max_length=CURRENCY_LENGTH)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(kind__in=AccountKind.values), name="ledger_account_kind_known"),
            models.UniqueConstraint(fields=["kind", "holder", "currency"], name="ledger_account_once"),
        ]

    def __str__(self) -> str:
        return self.id


class LedgerTransactionKind(models.TextChoices):
    CAPTURE = "CAPTURE"
    RELEASE = "RELEASE"
    REVERSAL = "REVERSAL"
    REFUND = "REFUND"


class LedgerTransaction(models.Model):
    """Why money moved. The key is derived from the cause, so nothing is booked twice."""

    id = models.UUIDField(primary_key=True, editable=False)
    key = models.CharField(max_length=KEY_LENGTH, unique=True)
    kind = models.CharField(max_length=16, choices=LedgerTransactionKind.choices)
    order_id = models.UUIDField()
    payment_id = models.UUIDField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(kind__in=LedgerTransactionKind.values), name="ledger_kind_known"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["order_id"], name="ledger_of_order"),
            models.Index(fields=["payment_id"], name="ledger_of_payment"),
        ]

    def __str__(self) -> str:
        return self.key


class LedgerEntry(models.Model):
    """`amount_cents` move from the account `debit` to the account `credit`."""

    id = models.BigAutoField(primary_key=True)
    transaction = models.ForeignKey(LedgerTransaction, on_delete=models.PROTECT, related_name="entries")
    debit = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="+")
    credit = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="+")
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=CURRENCY_LENGTH)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="ledger_entry_amount_positive"),
            models.CheckConstraint(condition=~Q(debit=F("credit")), name="ledger_entry_two_sides"),
            models.CheckConstraint(
                condition=Q(Exact(Right("debit_id", CURRENCY_LENGTH), F("currency")))
                & Q(Exact(Right("credit_id", CURRENCY_LENGTH), F("currency"))),
                name="ledger_entry_one_currency",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.debit_id} -> {self.credit_id} {self.amount_cents}"
