"""The payment methods of the sandbox: Stripe's test tokens (https://docs.stripe.com/testing) and ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SandboxMethod:
    """A test card: its brand and last four digits, and what happens to payments with it."""

    brand: str
    last4: str
    decline_code: str = ""
    needs_authentication: bool = False
    loses_request: bool = False
    loses_reply: bool = False
    is_slow: bool = False


METHODS: dict[str, SandboxMethod] = {
    "pm_card_visa": SandboxMethod(brand="visa", last4="4242"),
    "pm_card_mastercard": SandboxMethod(brand="mastercard", last4="4444"),
    "pm_card_amex": SandboxMethod(brand="amex", last4="8431"),
    "pm_card_chargeDeclined": SandboxMethod(brand="visa", last4="0002", decline_code="generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": SandboxMethod(
        brand="visa", last4="9995", decline_code="insufficient_funds"
    ),
    "pm_card_authenticationRequired": SandboxMethod(brand="visa", last4="3184", needs_authentication=True),
    # The first request with each idempotency key never reaches the provider.
    "pm_sandbox_timeout_before": SandboxMethod(brand="visa", last4="0101", loses_request=True),
    # The first request with each idempotency key takes effect, but its reply is lost.
    "pm_sandbox_timeout_after": SandboxMethod(brand="visa", last4="0102", loses_reply=True),
    "pm_sandbox_slow": SandboxMethod(brand="visa", last4="0103", is_slow=True),
}
