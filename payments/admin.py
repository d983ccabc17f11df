"""The admin shows money and never changes it: every change is made by the API or a saga."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from payments.models import EscrowTransaction, LedgerEntry, LedgerTransaction, Payment, Refund
from payments.money import decimal_text


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        return False


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = ("id", "status", "amount", "currency", "owner", "order_id", "created_at")
    list_filter = ("status",)
    search_fields = ("=id", "=order_id", "=intent_id", "owner")
    ordering: ClassVar = ["-created_at", "-id"]
    show_full_result_count = False

    @admin.display(description="Amount")
    def amount(self, payment: Payment) -> str:
        return decimal_text(payment.amount_cents)


@admin.register(EscrowTransaction)
class EscrowTransactionAdmin(ReadOnlyAdmin):
    list_display = ("id", "type", "status", "recipient_type", "amount", "currency", "owner", "order_id", "created_at")
    list_filter = ("type", "status", "recipient_type")
    search_fields = ("=id", "=order_id", "=payment_id", "owner")
    ordering: ClassVar = ["-created_at", "-id"]
    show_full_result_count = False

    @admin.display(description="Amount")
    def amount(self, escrow: EscrowTransaction) -> str:
        return decimal_text(escrow.amount_cents)


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = ("id", "payment_id", "status", "amount", "reason", "created_at")
    list_filter = ("status",)
    search_fields = ("=id", "=payment_id")
    ordering: ClassVar = ["-created_at", "-id"]
    show_full_result_count = False

    @admin.display(description="Amount")
    def amount(self, refund: Refund) -> str:
        return decimal_text(refund.amount_cents)


class LedgerEntryInline(TabularInline):  # type: ignore[misc]
    model = LedgerEntry
    fields = ("debit", "credit", "amount", "currency")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        return False

    @admin.display(description="Amount")
    def amount(self, entry: LedgerEntry) -> str:
        return decimal_text(entry.amount_cents)


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(ReadOnlyAdmin):
    list_display = ("key", "kind", "order_id", "payment_id", "created_at")
    list_filter = ("kind",)
    search_fields = ("=order_id", "=payment_id")
    ordering: ClassVar = ["-created_at", "-id"]
    inlines: ClassVar = [LedgerEntryInline]
    show_full_result_count = False
