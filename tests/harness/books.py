"""The oracle's rules about money. For each order our rows, our ledger and the provider's must agree to the cent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from orders.models import Order
from payments.models import EscrowTransaction, Payment
from payments.sandbox.models import SandboxIntent, SandboxTransfer
from tests.harness.snapshot import Booking, Breach, Snapshot

ENDED_ORDER = ("CANCELLED", "FAILED")
PAID_ORDER = ("ACCEPTED", "COMPLETED")
#: Orders whose money is not paid out yet.
WAITING_ORDER = ("CREATED", "ACCEPTED")
UNSETTLED_PAYMENT = ("PENDING", "CAPTURING", "VOIDING")
CAPTURED_PAYMENT = ("CAPTURED", "REFUNDED")


def cents(order: Order) -> int:
    return int(order.total_amount * 100)


# -- the provider ---------------------------------------------------------------------------------------------------
def a_live_order_has_one_authorization(seen: Snapshot) -> Iterator[Breach]:
    for order in seen.orders.values():
        intents = seen.intents.get(str(order.pk), [])
        live = [intent.amount_capturable for intent in intents if intent.status == "requires_capture"]
        if order.status == "CREATED" and live != [cents(order)]:
            yield Breach("live order without its authorization", str(order.pk), f"{live} held, {cents(order)} wanted")
        if order.status in (*ENDED_ORDER, *PAID_ORDER) and live:
            yield Breach("leaked authorization", str(order.pk), f"{order.status}, {live} held")
        ever = sum(intent.authorizations for intent in intents)
        if ever > 1:
            yield Breach("authorized twice", str(order.pk), f"{ever} authorizations ever")
    for order_id in seen.intents.keys() - {str(pk) for pk in seen.orders}:
        live = [intent.id for intent in seen.intents[order_id] if intent.status == "requires_capture"]
        if live:
            yield Breach("leaked authorization", order_id, f"no such order, {live} held")


def an_order_is_paid_once(seen: Snapshot) -> Iterator[Breach]:
    """Accepted and completed: captured once and kept. Anything else: nothing captured, or all of it given back."""
    for order in seen.orders.values():
        intents = seen.intents.get(str(order.pk), [])
        captured = [intent.amount_received for intent in intents if intent.amount_received]
        kept = sum(intent.amount_received - intent.amount_refunded for intent in intents)
        if order.status in PAID_ORDER and (captured != [cents(order)] or kept != cents(order)):
            yield Breach("order not paid", str(order.pk), f"captured {captured}, kept {kept} of {cents(order)}")
        if order.status not in PAID_ORDER and kept:
            yield Breach("money kept", str(order.pk), f"{order.status}, {kept} cents not given back")


def payment_and_provider_agree(seen: Snapshot) -> Iterator[Breach]:
    for payments in seen.payments.values():
        for payment in payments:
            intents = seen.intents.get(str(payment.order_id), [])
            theirs = _sums(intent for intent in intents if intent.id == payment.intent_id)
            held = payment.amount_cents if payment.status == "AUTHORIZED" else 0
            ours = (held, payment.captured_cents, payment.refunded_cents)
            others = _sums(intent for intent in intents if intent.id != payment.intent_id)
            if ours != theirs or any(others):
                detail = f"{payment.status} {ours}, provider {theirs}, other intents {others}"
                yield Breach("payment and provider differ", str(payment.pk), detail)
            if payment.status in UNSETTLED_PAYMENT:
                yield Breach("payment not settled", str(payment.pk), payment.status)


def _sums(intents: Iterator[SandboxIntent]) -> tuple[int, int, int]:
    """Cents held, captured and refunded."""
    held = captured = refunded = 0
    for intent in intents:
        held += intent.amount_capturable if intent.status == "requires_capture" else 0
        captured += intent.amount_received
        refunded += intent.amount_refunded
    return held, captured, refunded


def each_refund_was_given_once(seen: Snapshot) -> Iterator[Breach]:
    for payments in seen.payments.values():
        for payment in payments:
            ours = Counter((str(refund.pk), refund.amount_cents) for refund in seen.refunds.get(payment.pk, []))
            given = seen.given_back.get(payment.intent_id, []) if payment.intent_id else []
            theirs = Counter((refund.metadata.get("refund_id", ""), refund.amount) for refund in given)
            if ours != theirs:
                yield Breach("refunds differ", str(payment.pk), f"{dict(ours)}, provider {dict(theirs)}")


# -- escrow ---------------------------------------------------------------------------------------------------------
def escrow_is_held_for_waiting_orders_only(seen: Snapshot) -> Iterator[Breach]:
    for order in seen.orders.values():
        holds = seen.escrow.get(order.pk, [])
        held = [hold.amount_cents for hold in holds if hold.status in ("HELD", "RELEASING")]
        if order.status in WAITING_ORDER and held != [cents(order)]:
            yield Breach("live order without its escrow", str(order.pk), f"{held} held, {cents(order)} wanted")
        if order.status not in WAITING_ORDER and held:
            yield Breach("leaked escrow", str(order.pk), f"{order.status}, {held} held")


def everybody_is_paid_once(seen: Snapshot) -> Iterator[Breach]:
    """Restaurant, runner and platform have the money of a completed order; of any other order they have nothing."""
    for order in seen.orders.values():
        paid: Counter[str] = Counter()
        for row in seen.payouts.get(str(order.pk), []):
            if row.status != "COMPLETED":
                yield Breach("payout not finished", str(order.pk), f"{row.type} to {row.recipient_type} {row.status}")
            paid[row.recipient_type] += row.amount_cents if row.type == "RELEASE" else -row.amount_cents
        wanted = cents(order) if order.status == "COMPLETED" else 0
        if sum(paid.values()) != wanted or any(amount < 0 for amount in paid.values()):
            yield Breach("paid out wrongly", str(order.pk), f"{order.status}, {dict(paid)} of {wanted} wanted")


def payouts_and_transfers_agree(seen: Snapshot) -> Iterator[Breach]:
    """Each payout is one transfer at the provider: same recipient, same amount, same amount taken back."""
    for order_id in seen.payouts.keys() | seen.transfers.keys():
        ours = _sent(seen.payouts.get(order_id, []))
        theirs = Counter(_received(transfer) for transfer in seen.transfers.get(order_id, []))
        if ours != theirs:
            yield Breach("payouts and transfers differ", order_id, f"{dict(ours)}, provider {dict(theirs)}")


Sent = tuple[str, str, int, int]


def _sent(rows: list[EscrowTransaction]) -> Counter[Sent]:
    """`(payout, recipient, cents, cents taken back)` of what left the platform's own account."""
    back: Counter[str] = Counter()
    for row in rows:
        back[row.recipient_type] += row.amount_cents if row.type == "REVERSAL" else 0
    return Counter(
        (str(row.pk), row.recipient, row.amount_cents, back[row.recipient_type])
        for row in rows
        if row.type == "RELEASE" and row.recipient_type != "platform"
    )


def _received(transfer: SandboxTransfer) -> Sent:
    payout_id = transfer.metadata.get("payout_id", "")
    return payout_id, transfer.destination, transfer.amount, transfer.amount_reversed


# -- the ledger -----------------------------------------------------------------------------------------------------
def the_ledger_knows_every_order(seen: Snapshot) -> Iterator[Breach]:
    """The ledger says what the rows say: how much was captured, paid out and returned for each order."""
    payments = {payment.order_id: payment for found in seen.payments.values() for payment in found}
    for order_id in seen.bookings.keys() | payments.keys():
        booked = _booked(seen.bookings.get(order_id, []))
        wanted = _position(payments.get(order_id), seen.payouts.get(str(order_id), []))
        if booked != wanted:
            yield Breach("ledger differs", str(order_id), f"(captured, paid out, returned) {booked}, rows {wanted}")
        held = booked[0] - booked[1] - booked[2]
        order = seen.orders.get(order_id)
        promised = cents(order) if order is not None and order.status == "ACCEPTED" else 0
        if held != promised:
            yield Breach("money left in escrow", str(order_id), f"{held} cents held, {promised} promised")


def _booked(bookings: list[Booking]) -> tuple[int, int, int]:
    sums: Counter[str] = Counter()
    for booking in bookings:
        sums[booking.kind] += booking.cents
    return sums["CAPTURE"], sums["RELEASE"] - sums["REVERSAL"], sums["REFUND"]


def _position(payment: Payment | None, payouts: list[EscrowTransaction]) -> tuple[int, int, int]:
    paid = sum(row.amount_cents if row.type == "RELEASE" else -row.amount_cents for row in payouts)
    return (payment.captured_cents, paid, payment.refunded_cents) if payment else (0, paid, 0)


def the_ledger_is_the_providers(seen: Snapshot) -> Iterator[Breach]:
    """Each account at the provider has the balance that our ledger says."""
    balances: Counter[str] = Counter()
    for bookings in seen.bookings.values():
        for booking in bookings:
            balances[booking.debit] -= booking.cents
            balances[booking.credit] += booking.cents
    theirs = _balances_at_provider(seen)
    ours: Counter[str] = Counter()
    for account, amount in balances.items():
        if _is_outside(account):
            ours[_holder(account)] += amount
    for holder in ours.keys() | theirs.keys():
        if ours[holder] != theirs[holder]:
            yield Breach("balance differs", holder, f"{ours[holder]} cents, provider {theirs[holder]}")


def _balances_at_provider(seen: Snapshot) -> Counter[str]:
    balances: Counter[str] = Counter()
    for intents in seen.intents.values():
        balances["customers"] -= sum(intent.amount_received - intent.amount_refunded for intent in intents)
    for transfers in seen.transfers.values():
        for transfer in transfers:
            balances[transfer.destination] += transfer.amount - transfer.amount_reversed
    return balances


def _is_outside(account: str) -> bool:
    return account.split(":", maxsplit=1)[0] not in ("escrow", "platform")


def _holder(account: str) -> str:
    kind, holder, _ = account.split(":")
    return "customers" if kind == "customer" else holder


RULES: tuple[Callable[[Snapshot], Iterator[Breach]], ...] = (
    a_live_order_has_one_authorization,
    an_order_is_paid_once,
    payment_and_provider_agree,
    each_refund_was_given_once,
    escrow_is_held_for_waiting_orders_only,
    everybody_is_paid_once,
    payouts_and_transfers_agree,
    the_ledger_knows_every_order,
    the_ledger_is_the_providers,
)
