"""Events of the provider need a valid signature, are handled once, and only make us read the provider's state."""

from __future__ import annotations

import json
import random
import time
import uuid

import pytest
import stripe
from rest_framework.test import APIClient

from payments import webhooks
from payments.errors import BadSignature
from payments.gateways import use_gateway
from payments.models import PaymentStatus, ProviderEvent
from payments.sandbox.models import SandboxIntent
from tests.payments.builders import Case, Crash, Dying, order_fault

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "whsec_current"
OLD_SECRET = "whsec_previous"
FORGERIES = 10_000


@pytest.fixture(autouse=True)
def signing_secrets(settings):
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET, OLD_SECRET]


def event_about(intent_id: str, *, type_: str = "payment_intent.amount_capturable_updated", **claims: object) -> bytes:
    body = {"object": "payment_intent", "id": intent_id} | claims
    return json.dumps({"id": f"evt_{uuid.uuid4().hex}", "type": type_, "data": {"object": body}}).encode()


def signed(payload: bytes, *, secret: str = SECRET, age: int = 0) -> str:
    header: str = stripe.WebhookSignature.generate_signature_header(payload.decode(), secret, int(time.time()) - age)
    return header


def send(payload: bytes, signature: str | None = None):
    header = signed(payload) if signature is None else signature
    return APIClient().post(
        "/api/webhooks/stripe", data=payload, content_type="application/json", HTTP_STRIPE_SIGNATURE=header
    )


def half_authorized() -> Case:
    """The provider authorized the payment, and its answer was lost."""
    case = Case()
    with use_gateway(Dying(at_call=2, after_effect=True)), pytest.raises(Crash):
        case.authorize()
    return case


def test_an_event_that_arrives_before_the_answer_is_used():
    case = half_authorized()
    assert send(event_about(case.row.intent_id)).json() == {"received": True, "is_new": True}
    assert case.row.status == PaymentStatus.AUTHORIZED
    case.authorize()
    assert case.authorizations_ever == 1


def test_an_event_from_before_we_committed_the_intent_changes_nothing():
    case = Case()
    with use_gateway(Dying(at_call=1, after_effect=True)), pytest.raises(Crash):
        case.authorize()
    (intent,) = case.provider_intents
    assert send(event_about(intent.id, type_="payment_intent.created")).status_code == 200
    case.authorize()
    assert (case.live_authorizations, len(case.provider_intents)) == (1, 1)


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_two_secrets_are_good_while_one_replaces_the_other(secret):
    payload = event_about(half_authorized().row.intent_id)
    assert send(payload, signed(payload, secret=secret)).status_code == 200


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "nonsense",
        "t=1,v1=",
        "t=1732111111",
        "v1=" + "0" * 64,
    ],
)
def test_an_invalid_signature_is_refused(signature):
    answer = send(event_about("pi_1"), signature)
    assert (answer.status_code, answer.json()["code"]) == (400, "payment.bad_signature")
    assert ProviderEvent.objects.count() == 0


@pytest.mark.parametrize("age", [301, 86_400])
def test_an_old_event_is_refused(age):
    payload = event_about("pi_1")
    assert send(payload, signed(payload, age=age)).status_code == 400


def test_without_a_secret_nothing_is_accepted(settings):
    settings.STRIPE_WEBHOOK_SECRETS = []
    assert send(event_about("pi_1")).status_code == 400


def test_forged_and_bit_flipped_signatures_are_all_refused():
    random_source = random.Random(4)
    payload = event_about("pi_1")
    header = signed(payload)
    accepted = 0
    for number in range(FORGERIES):
        body, signature = bytearray(payload), bytearray(header.encode())
        target = body if number % 2 else signature
        position = random_source.randrange(len(target))
        target[position] ^= 1 << random_source.randrange(8)
        try:
            webhooks._verify(bytes(body), signature.decode("latin-1"))
        except BadSignature:
            continue
        accepted += 1
    assert accepted == 0


def test_repeated_and_shuffled_events_are_each_handled_once():
    cases = [half_authorized() for _ in range(5)]
    events = [event_about(case.row.intent_id) for case in cases]
    deliveries = events * 10
    random.Random(7).shuffle(deliveries)
    new = sum(send(payload).json()["is_new"] for payload in deliveries)
    assert new == len(events) == ProviderEvent.objects.exclude(handled_at=None).count()
    assert all(case.row.status == PaymentStatus.AUTHORIZED for case in cases)


def test_what_an_event_claims_is_not_believed():
    case = Case()
    case.authorize()
    send(event_about(case.row.intent_id, type_="payment_intent.canceled", status="canceled"))
    assert case.row.status == PaymentStatus.AUTHORIZED


def test_an_authorization_that_lapsed_at_the_provider_is_written_off():
    case = Case()
    case.authorize()
    SandboxIntent.objects.update(status="canceled")
    send(event_about(case.row.intent_id, type_="payment_intent.canceled"))
    assert case.row.status == PaymentStatus.EXPIRED


def test_an_event_about_the_hold_of_a_voided_payment_cancels_it():
    case = half_authorized()
    case.revert()
    SandboxIntent.objects.update(status="requires_capture")
    send(event_about(case.row.intent_id))
    assert case.live_authorizations == 0


def test_an_event_that_could_not_be_handled_is_sent_again():
    payload = event_about(half_authorized().row.intent_id)
    order_fault("error_500", "retrieve_intent")
    assert send(payload).status_code == 503
    assert send(payload).json()["is_new"] is True


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"\xff\xfe", b'{"id": "evt_1"}', b"null"])
def test_a_signed_body_that_is_no_event_is_a_400(payload):
    signature = signed(payload) if payload != b"\xff\xfe" else signed(b"{}")
    assert send(payload, signature).status_code == 400
