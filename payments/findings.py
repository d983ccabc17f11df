"""What reconciliation can find: a drift is a difference between our books and the provider's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from payments.errors import PaymentError
from payments.gateways.base import Intent
from payments.models import Payment

logger = logging.getLogger(__name__)


class Drift(StrEnum):
    """docs/how-to/real-payments.md says what each means and what happens then."""

    ORPHAN_AUTHORIZATION = "orphan_authorization"
    LEFTOVER_INTENT = "leftover_intent"
    LOST_AUTHORIZATION = "lost_authorization"
    UNKNOWN_AT_PROVIDER = "unknown_at_provider"
    CAPTURED_WITHOUT_PAYMENT = "captured_without_payment"
    AMOUNT_MISMATCH = "amount_mismatch"
    LEDGER_MISMATCH = "ledger_mismatch"
    MISSING_TRANSFER = "missing_transfer"
    TRANSFER_MISMATCH = "transfer_mismatch"
    UNFINISHED = "unfinished"
    AUTHORIZATION_OF_DEAD_ORDER = "authorization_of_dead_order"
    ABOUT_TO_LAPSE = "about_to_lapse"


WARNINGS = (Drift.ABOUT_TO_LAPSE, Drift.LEFTOVER_INTENT)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One drift, and whether it was corrected. The ids are text, "" if there is none."""

    drift: Drift
    payment_id: str
    intent_id: str
    detail: str
    is_healed: bool = False

    @property
    def is_warning(self) -> bool:
        return self.drift in WARNINGS


def about_intent(drift: Drift, intent: Intent, detail: str) -> Finding:
    return Finding(drift=drift, payment_id=intent.payment_id, intent_id=intent.id, detail=detail)


def about_payment(drift: Drift, payment: Payment, detail: str) -> Finding:
    return Finding(drift=drift, payment_id=str(payment.pk), intent_id=payment.intent_id, detail=detail)


def healed_by(finding: Finding, action: Callable[[], object]) -> Finding:
    """Run the action that corrects the drift. A PaymentError leaves the finding open and is logged."""
    try:
        is_healed = bool(action())
    except PaymentError as error:
        logger.warning("Could not correct a drift: %s", error, extra={"action": "drift_not_healed"})
        return finding
    return replace(finding, is_healed=is_healed)


def log(finding: Finding) -> None:
    """A warning for what is no loss yet, an error for the rest."""
    level = logging.WARNING if finding.is_warning else logging.ERROR
    log_extra = {"action": f"drift_{finding.drift}", "payment_id": finding.payment_id, "intent_id": finding.intent_id}
    logger.log(level, "Payments drifted: %s", finding.detail, extra=log_extra)
