"""The admin shows money and never changes it: every change is made by the API or a saga."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin

from payments.models import EscrowTransaction, LedgerEntry, LedgerTransaction, Payment, Refund
from payments.money import decimal_text
from sagas.rest.readonly_admin import ReadOnlyAdmin, ReadOnlyInline


class Amount:
    """The column `amount`."""

    @admin.display(description="Amount")
    def amount(self, row: Any) -> str:
        return decimal_text(row.amount_cents)


class MoneyAdmin(Amount, ReadOnlyAdmin):
    ordering: ClassVar = ["-created_at", "-id"]


@admin.register(Payment)
class PaymentAdmin(MoneyAdmin):
    list_display = ("id", "status", "amount", "currency", "owner", "order_id", "created_at")
    list_filter = ("status",)
    search_fields = ("=id", "=order_id", "=intent_id", "owner")


@admin.register(EscrowTransaction)
class EscrowTransactionAdmin(MoneyAdmin):
    list_display = ("id", "type", "status", "recipient_type", "amount", "currency", "owner", "order_id", "created_at")
    list_filter = ("type", "status", "recipient_type")
    search_fields = ("=id", "=order_id", "=payment_id", "owner")


@admin.register(Refund)
class RefundAdmin(MoneyAdmin):
    list_display = ("id", "payment_id", "status", "amount", "reason", "created_at")
    list_filter = ("status",)
    search_fields = ("=id", "=payment_id")


class LedgerEntryInline(Amount, ReadOnlyInline):
    model = LedgerEntry
    fields = ("debit", "credit", "amount", "currency")
    readonly_fields = fields


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(ReadOnlyAdmin):
    list_display = ("key", "kind", "order_id", "payment_id", "created_at")
    list_filter = ("kind",)
    search_fields = ("=order_id", "=payment_id")
    ordering: ClassVar = ["-created_at", "-id"]
    inlines: ClassVar = [LedgerEntryInline]
