"""The only gateway, on the official SDK. The HTTP client and the base address behind the SDK decide whether Stripe, the
sandbox or a separate provider process answers; the code here is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from payments.errors import (
    GatewayMisuse,
    GatewayStateConflict,
    GatewayUnavailable,
    InvalidPayment,
    PaymentDeclined,
    UnknownPaymentMethod,
)
from payments.gateways.base import (
    Intent,
    IntentStatus,
    ProviderRefund,
    ProviderReversal,
    ProviderTransfer,
    require_no_transaction,
)

if TYPE_CHECKING:
    from stripe import StripeClient

PAGE_SIZE = 100
Answer = TypeVar("Answer")
EXPAND_CHARGE = ["latest_charge"]


class StripeGateway:
    def __init__(self, client: StripeClient) -> None:
        self._client = client

    def create_intent(
        self, *, amount_cents: int, currency: str, payment_method_id: str, payment_id: str, order_id: str, key: str
    ) -> Intent:
        params: dict[str, Any] = {
            "amount": amount_cents,
            "currency": currency.lower(),
            "capture_method": "manual",
            "payment_method": payment_method_id,
            "payment_method_types": ["card"],
            "metadata": {"payment_id": payment_id, "order_id": order_id},
            "transfer_group": transfer_group(order_id),
        }
        return _ask(lambda: self._intents.create(params, {"idempotency_key": key}), _intent)

    def confirm_intent(self, intent_id: str, *, key: str) -> Intent:
        params: dict[str, Any] = {"expand": EXPAND_CHARGE}
        return _ask(lambda: self._intents.confirm(intent_id, params, {"idempotency_key": key}), _intent)

    def retrieve_intent(self, intent_id: str) -> Intent:
        return _ask(lambda: self._intents.retrieve(intent_id, {"expand": EXPAND_CHARGE}), _intent)

    def cancel_intent(self, intent_id: str, *, key: str) -> Intent:
        return _ask(lambda: self._intents.cancel(intent_id, {}, {"idempotency_key": key}), _intent)

    def capture_intent(self, intent_id: str, *, amount_cents: int, key: str) -> Intent:
        params: dict[str, Any] = {"amount_to_capture": amount_cents, "expand": EXPAND_CHARGE}
        return _ask(lambda: self._intents.capture(intent_id, params, {"idempotency_key": key}), _intent)

    def refund_intent(self, intent_id: str, *, amount_cents: int, refund_id: str, key: str) -> ProviderRefund:
        params: dict[str, Any] = {
            "payment_intent": intent_id,
            "amount": amount_cents,
            "metadata": {"refund_id": refund_id},
        }
        return _ask(lambda: self._refunds.create(params, {"idempotency_key": key}), _refund)

    def list_refunds(self, intent_id: str) -> list[ProviderRefund]:
        params: dict[str, Any] = {"payment_intent": intent_id, "limit": PAGE_SIZE}
        return _ask(lambda: self._refunds.list(params), lambda page: [_refund(one) for one in page.data])

    def list_intents(self, *, created_after: datetime) -> Iterator[Intent]:
        params: dict[str, Any] = {
            "limit": PAGE_SIZE,
            "created": {"gte": int(created_after.timestamp())},
            "expand": ["data.latest_charge"],
        }
        has_more = True
        while has_more:
            page, has_more = self._page_of_intents(params)
            yield from page
            params = {**params, "starting_after": page[-1].id} if page else params

    def transfer(
        self,
        *,
        amount_cents: int,
        currency: str,
        destination: str,
        group: str,
        charge_id: str,
        payout_id: str,
        key: str,
    ) -> ProviderTransfer:
        params: dict[str, Any] = {
            "amount": amount_cents,
            "currency": currency.lower(),
            "destination": destination,
            "transfer_group": group,
            "source_transaction": charge_id,
            "metadata": {"payout_id": payout_id},
        }
        return _ask(lambda: self._transfers.create(params, {"idempotency_key": key}), _transfer)

    def reverse_transfer(self, transfer_id: str, *, amount_cents: int, reversal_id: str, key: str) -> ProviderReversal:
        params: dict[str, Any] = {"amount": amount_cents, "metadata": {"reversal_id": reversal_id}}
        return _ask(lambda: self._transfers.reversals.create(transfer_id, params, {"idempotency_key": key}), _reversal)

    def list_reversals(self, transfer_id: str) -> list[ProviderReversal]:
        return _ask(
            lambda: self._transfers.reversals.list(transfer_id, {"limit": PAGE_SIZE}),
            lambda page: [_reversal(one) for one in page.data],
        )

    def list_transfers(self, *, group: str) -> list[ProviderTransfer]:
        params: dict[str, Any] = {"transfer_group": group, "limit": PAGE_SIZE}
        return _ask(lambda: self._transfers.list(params), lambda page: [_transfer(one) for one in page.data])

    def _page_of_intents(self, params: dict[str, Any]) -> tuple[list[Intent], bool]:
        return _ask(
            lambda: self._intents.list(params), lambda page: ([_intent(one) for one in page.data], bool(page.has_more))
        )

    # The SDK types parameters as closed dictionaries per call; ours are checked by the contract tests instead.
    @property
    def _intents(self) -> Any:
        return self._client.v1.payment_intents

    @property
    def _refunds(self) -> Any:
        return self._client.v1.refunds

    @property
    def _transfers(self) -> Any:
        return self._client.v1.transfers


def transfer_group(order_id: str) -> str:
    """What the provider groups the transfers of one order by."""
    return f"order_{order_id}"


def _ask(request: Callable[[], Any], read: Callable[[Any], Answer]) -> Answer:
    """Send one request and read its answer. An answer that can't be read proves nothing, so it counts as none."""
    import stripe

    require_no_transaction()
    try:
        answer = request()
    except stripe.StripeError as error:
        raise _translated(error) from error
    try:
        return read(answer)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GatewayUnavailable("The payment provider's answer could not be read.") from error


def _translated(error: Any) -> Exception:
    """Our error for an error of the SDK. All that is not definitely no is an unknown outcome."""
    import stripe

    is_saved = (error.headers or {}).get("idempotent-replayed") == "true"
    if isinstance(error, stripe.CardError):
        return _decline(error)
    is_key_reuse = isinstance(error, stripe.IdempotencyError) and error.http_status == HTTPStatus.BAD_REQUEST
    if is_key_reuse or isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return GatewayMisuse(f"The payment provider answered: {error.user_message}")
    if isinstance(error, stripe.InvalidRequestError) and error.http_status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
    ):
        return _invalid_request(error, is_saved)
    saved_failure = is_saved and (error.http_status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR
    return GatewayUnavailable(f"The payment provider gave no usable answer ({_kind(error)}).", is_saved=saved_failure)


def _decline(error: Any) -> PaymentDeclined:
    decline_code = getattr(error.error, "decline_code", None) or error.code or "card_declined"
    return PaymentDeclined(f"The card was declined: {decline_code}.", decline_code=decline_code)


def _invalid_request(error: Any, is_saved: bool) -> Exception:
    if error.code == "resource_missing" and error.param in ("payment_method", "id"):
        return UnknownPaymentMethod("The payment provider does not know this payment method.")
    if error.code in STATE_CODES:
        return GatewayStateConflict(f"The payment provider answered: {error.user_message}", is_saved=is_saved)
    if error.http_status == HTTPStatus.BAD_REQUEST:
        return InvalidPayment(f"The payment provider answered: {error.user_message}")
    return GatewayMisuse(f"The payment provider answered: {error.user_message}")


STATE_CODES = frozenset(
    {
        "payment_intent_unexpected_state",
        "charge_already_captured",
        "charge_already_refunded",
        "charge_expired_for_capture",
        "amount_too_large",
        "transfer_reversal_too_large",
        "balance_insufficient",
    }
)


def _kind(error: Any) -> str:
    return f"{type(error).__name__}, HTTP {error.http_status}" if error.http_status else type(error).__name__


def _is_replayed(answer: Any) -> bool:
    response = getattr(answer, "last_response", None)
    headers = response.headers if response is not None else {}
    return headers.get("idempotent-replayed") == "true"


def _intent(found: Any) -> Intent:
    charge = getattr(found, "latest_charge", None)
    shown = charge if charge is not None and not isinstance(charge, str) else None
    return Intent(
        id=found.id,
        status=IntentStatus(found.status),
        amount_cents=_cents(found.amount),
        received_cents=_cents(found.amount_received),
        currency=found.currency.upper(),
        decline_code=_last_decline(found),
        charge_id=shown.id if shown else charge or "",
        refunded_cents=_cents(shown.amount_refunded) if shown else 0,
        capture_before=_capture_before(shown),
        payment_id=_metadata(found, "payment_id"),
        order_id=_metadata(found, "order_id"),
        created_at=datetime.fromtimestamp(found.created, UTC),
        is_replayed=_is_replayed(found),
    )


def _cents(amount: Any) -> int:
    if type(amount) is not int:
        raise TypeError("An amount must be a whole number of cents.")
    return amount


def _last_decline(found: Any) -> str:
    error = getattr(found, "last_payment_error", None)
    if error is None:
        return ""
    return getattr(error, "decline_code", None) or getattr(error, "code", None) or ""


def _capture_before(charge: Any) -> datetime | None:
    details = getattr(charge, "payment_method_details", None)
    stamp = getattr(getattr(details, "card", None), "capture_before", None)
    return datetime.fromtimestamp(stamp, UTC) if stamp else None


def _metadata(found: Any, name: str) -> str:
    """What we sent as metadata with the request. The SDK's metadata is not a dict, but it supports `in`."""
    metadata = found.metadata
    if metadata is None or name not in metadata:
        return ""
    return str(metadata[name])


def _refund(found: Any) -> ProviderRefund:
    return ProviderRefund(
        id=found.id,
        amount_cents=_cents(found.amount),
        status=found.status,
        refund_id=_metadata(found, "refund_id"),
        is_replayed=_is_replayed(found),
    )


def _transfer(found: Any) -> ProviderTransfer:
    return ProviderTransfer(
        id=found.id,
        amount_cents=_cents(found.amount),
        reversed_cents=_cents(found.amount_reversed),
        destination=found.destination,
        group=found.transfer_group or "",
        payout_id=_metadata(found, "payout_id"),
    )


def _reversal(found: Any) -> ProviderReversal:
    return ProviderReversal(id=found.id, amount_cents=_cents(found.amount), reversal_id=_metadata(found, "reversal_id"))
