"""The payments tables: methods, payments, refunds, escrow, the ledger and the provider's events."""

from payments.models.escrow import EscrowTransaction, RecipientType, TransactionStatus, TransactionType
from payments.models.ledger import (
    AccountKind,
    LedgerAccount,
    LedgerEntry,
    LedgerTransaction,
    LedgerTransactionKind,
)
from payments.models.methods import PaymentMethod
from payments.models.payment import UNSETTLED, Payment, PaymentStatus
from payments.models.refund import Refund, RefundStatus
from payments.models.webhook import ProviderEvent

__all__ = [
    "UNSETTLED",
    "AccountKind",
    "EscrowTransaction",
    "LedgerAccount",
    "LedgerEntry",
    "LedgerTransaction",
    "LedgerTransactionKind",
    "Payment",
    "PaymentMethod",
    "PaymentStatus",
    "ProviderEvent",
    "RecipientType",
    "Refund",
    "RefundStatus",
    "TransactionStatus",
    "TransactionType",
]
