"""The payments tables: methods, payments, refunds, escrow, the ledger, and the sandbox provider's own ones."""

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
from payments.sandbox.tables import SandboxAnswer, SandboxFault, SandboxIntent, SandboxRefund, SandboxTransfer

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
    "SandboxAnswer",
    "SandboxFault",
    "SandboxIntent",
    "SandboxRefund",
    "SandboxTransfer",
    "TransactionStatus",
    "TransactionType",
]
