"""The errors of payments.

Problem
└── PaymentError
    ├── GatewayUnavailable        no answer, or one that proves nothing: the outcome is UNKNOWN, so ask again
    ├── GatewayStateConflict      the provider's object is not in the state that the request needs: read it, then decide
    ├── PayoutInProgress          a payout has not arrived yet: wait, then try again
    ├── GatewayMisuse             the request is wrong (a key used twice with other parameters, a bad API key)
    └── PaymentError + Refusal    the answer is no, and repeating the request does not change it
        ├── PaymentDeclined, AuthenticationRequired, UnknownPaymentMethod, InvalidPayment
        ├── PaymentReverted, PaymentTermsDiffer, NotAuthorized, CannotRelease
        ├── CannotCapture, CannotRefund, CannotHoldEscrow, CannotReleaseEscrow, CannotCancelEscrow
        ├── KeyRequired, CardNumberFound, BadSignature, UnreadableEvent
        └── UnknownPayment, UnknownEscrow, UnknownCustomer
"""

from __future__ import annotations

from typing import Any

from sagas import Problem, Refusal


class PaymentError(Problem):
    code = "payment.error"
    status = 500
    title = "Payment error"
    advice = "Try again; if it stays, ask an operator."


class GatewayUnavailable(PaymentError):
    """The provider gave no answer, or none that proves anything. What happened is unknown; it is never a failure.

    `is_saved`: the provider repeated a stored server error, so asking again with this key can never help.
    """

    code = "payment.gateway_unavailable"
    status = 503
    title = "The payment provider is not answering"
    advice = "Nothing is lost: the request is repeated with the same key until the provider answers."

    def __init__(self, detail: str = "", *, is_saved: bool = False, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.is_saved = is_saved


class GatewayStateConflict(PaymentError):
    """The object at the provider is not in a state that allows the request. `is_saved` as in GatewayUnavailable."""

    code = "payment.gateway_state_conflict"
    status = 409
    title = "The payment is in another state at the provider"
    advice = "Read the payment again, then decide."

    def __init__(self, detail: str = "", *, is_saved: bool = False, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.is_saved = is_saved


class GatewayMisuse(PaymentError):
    code = "payment.gateway_misuse"
    status = 502
    title = "The payment provider does not accept this request"
    advice = "An operator should compare the request with the provider's log and check the API key."


class PayoutInProgress(PaymentError):
    code = "escrow.payout_in_progress"
    status = 409
    title = "A payout of this order is in progress"
    advice = "Try again in a few seconds."


class PaymentDeclined(PaymentError, Refusal):
    code = "payment.declined"
    status = 402
    title = "The card was declined"
    advice = "Use another payment method, or ask the card's bank."


class AuthenticationRequired(PaymentDeclined):
    code = "payment.authentication_required"
    status = 402
    title = "The card's owner would have to confirm the payment"
    advice = "Use a payment method that needs no confirmation by its owner."


class UnknownPaymentMethod(PaymentError, Refusal):
    code = "payment.unknown_method"
    status = 422
    title = "Unknown payment method"
    advice = "Leave payment_method out to use the stored one, or send a token of the payment provider."


class InvalidPayment(PaymentError, Refusal):
    """The provider refused the terms, such as an amount below its minimum or a currency it does not take."""

    code = "payment.invalid"
    status = 422
    title = "The payment provider does not accept these terms"
    advice = "Check the amount and the currency."


class PaymentReverted(PaymentError, Refusal):
    code = "payment.reverted"
    status = 409
    title = "The payment has been reverted"
    advice = "Start again with a new order."


class PaymentTermsDiffer(PaymentError, Refusal):
    code = "payment.terms_differ"
    status = 409
    title = "This payment exists with other terms"
    advice = "Send the terms of the first request, or use a new payment id."


class UnknownPayment(PaymentError, Refusal):
    code = "payment.unknown"
    status = 404
    title = "No such payment"
    advice = "Check the id."


class UnknownEscrow(PaymentError, Refusal):
    code = "escrow.unknown"
    status = 404
    title = "No such escrow"
    advice = "Check the id."


class UnknownCustomer(PaymentError, Refusal):
    code = "payment.no_stored_method"
    status = 404
    title = "No stored payment method"
    advice = "Check the user's id, or send a payment_method with the order."


class NotAuthorized(PaymentError, Refusal):
    code = "payment.not_authorized"
    status = 409
    title = "The payment is not authorized"
    advice = "Authorize the payment first."


class CannotRelease(PaymentError, Refusal):
    code = "payment.cannot_release"
    status = 409
    title = "The authorization cannot be released"
    advice = "Captured money is given back by a refund."


class CannotCapture(PaymentError, Refusal):
    code = "payment.cannot_capture"
    status = 409
    title = "The payment cannot be captured"
    advice = "Only an authorized payment can be captured, once, up to its amount."


class CannotRefund(PaymentError, Refusal):
    code = "payment.cannot_refund"
    status = 409
    title = "The payment cannot be refunded"
    advice = "Only captured money that was not refunded yet can be refunded."


class CannotHoldEscrow(PaymentError, Refusal):
    code = "escrow.cannot_hold"
    status = 409
    title = "The escrow cannot be held"
    advice = "An order has one escrow, over the whole amount of its payment."


class CannotCancelEscrow(PaymentError, Refusal):
    code = "escrow.cannot_cancel"
    status = 409
    title = "The escrow cannot be cancelled"
    advice = "Money that was paid out is given back by a refund."


class CannotReleaseEscrow(PaymentError, Refusal):
    code = "escrow.cannot_release"
    status = 409
    title = "The escrow cannot be released"
    advice = "Only a held escrow whose payment was captured can be released."


class KeyRequired(PaymentError, Refusal):
    code = "payment.key_required"
    status = 400
    title = "A partial refund needs an Idempotency-Key"
    advice = "Send a key of your own in the `Idempotency-Key` header, and the same one when you repeat the request."


class CardNumberFound(PaymentError, Refusal):
    code = "payment.card_number"
    status = 422
    title = "Card numbers are not accepted here"
    advice = "Send a token of the payment provider (`pm_…`), never the number of a card."


class BadSignature(PaymentError, Refusal):
    code = "payment.bad_signature"
    status = 400
    title = "The signature is not valid"
    advice = "Sign the body with the endpoint's current secret, and send it within five minutes."


class UnreadableEvent(PaymentError, Refusal):
    code = "payment.unreadable_event"
    status = 400
    title = "The event cannot be read"
    advice = "Send an event object of the payment provider."
