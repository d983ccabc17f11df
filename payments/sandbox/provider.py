"""Handles one request: routing, idempotency keys and faults. A fault may come before or after the effect."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from payments.sandbox import resources
from payments.sandbox.methods import METHODS, SandboxMethod
from payments.sandbox.models import FaultKind, SandboxAnswer, SandboxFault, SandboxIntent
from payments.sandbox.wire import ProviderError, Reply, ReplyLost, Request

# https://docs.stripe.com/api/idempotent_requests: keys may be pruned once they are at least 24 hours old.
REPLAY_WINDOW = timedelta(hours=24)
DEFAULT_SLOW_SECONDS = 2.0

Chaos = Callable[[str, Request], str]

Body = dict[str, Any]
ROUTES: dict[tuple[str, str], Callable[..., Body]] = {
    ("POST", r"/v1/payment_intents"): resources.create_intent,
    ("GET", r"/v1/payment_intents"): resources.list_intents,
    ("GET", r"/v1/payment_intents/(\w+)"): resources.retrieve_intent,
    ("POST", r"/v1/payment_intents/(\w+)/confirm"): resources.confirm_intent,
    ("POST", r"/v1/payment_intents/(\w+)/cancel"): resources.cancel_intent,
    ("POST", r"/v1/payment_intents/(\w+)/capture"): resources.capture_intent,
    ("POST", r"/v1/refunds"): resources.create_refund,
    ("GET", r"/v1/refunds"): resources.list_refunds,
    ("POST", r"/v1/transfers"): resources.create_transfer,
    ("GET", r"/v1/transfers"): resources.list_transfers,
    ("GET", r"/v1/transfers/(\w+)"): resources.retrieve_transfer,
    ("POST", r"/v1/transfers/(\w+)/reversals"): resources.reverse_transfer,
    ("GET", r"/v1/transfers/(\w+)/reversals"): resources.list_reversals,
    ("GET", r"/v1/payment_methods/(\w+)"): resources.retrieve_method,
}


@dataclass(frozen=True)
class Fault:
    """What will go wrong with this request: a `FaultKind` or "" for nothing; `seconds` is how long a slow answer takes.

    `is_first_only`: only the first request with each idempotency key is affected, as with the magic payment methods.
    """

    kind: str = ""
    seconds: float = 0.0
    is_first_only: bool = False


def answer(request: Request, *, seconds_left: float, chaos: Chaos | None = None) -> Reply:
    """Answer the request. Raises ReplyLost if the connection breaks, before or after the effect."""
    name, operation, arguments = _route(request)
    fault = _choose_fault(name, request, arguments, chaos)
    if fault.kind == FaultKind.TIMEOUT_BEFORE and _affects(fault, request):
        raise ReplyLost("The request never arrived.")
    if refused := _refused(fault):
        return refused
    reply, is_first = _perform(request, operation, arguments, fault)
    _pause(fault, seconds_left)
    if fault.kind == FaultKind.TIMEOUT_AFTER and (is_first or not fault.is_first_only):
        raise ReplyLost("The reply was lost.")
    return _garbled(reply, fault)


def _route(request: Request) -> tuple[str, Callable[..., Body], tuple[str, ...]]:
    for (method, pattern), operation in ROUTES.items():
        match = re.fullmatch(pattern, request.path)
        if method == request.method and match:
            return operation.__name__, operation, match.groups()
    return "unknown", _unknown_route, ()


def _unknown_route(request: Request) -> Body:
    message = f"Unrecognized request URL ({request.method}: {request.path})."
    raise ProviderError(404, "invalid_request_error", message)


def _choose_fault(name: str, request: Request, arguments: tuple[str, ...], chaos: Chaos | None) -> Fault:
    intent_id = arguments[0] if arguments else request.params.get("payment_intent", "")
    intents = SandboxIntent.objects.only("payment_method", "metadata")
    intent = intents.filter(pk=intent_id).first() if intent_id else None
    metadata = intent.metadata if intent else request.metadata
    if ordered := _take_fault(name, metadata.get("order_id", "")):
        return ordered
    if chaos and (kind := chaos(name, request)):
        return Fault(kind)
    method_id = intent.payment_method if intent else request.params.get("payment_method", "")
    return _magic(METHODS.get(method_id), request)


def _magic(method: SandboxMethod | None, request: Request) -> Fault:
    if method is None or request.method != "POST":
        return Fault()
    if method.is_slow:
        return Fault(FaultKind.SLOW, float(getattr(settings, "SANDBOX_SLOW_SECONDS", DEFAULT_SLOW_SECONDS)))
    if method.loses_request:
        return Fault(FaultKind.TIMEOUT_BEFORE, is_first_only=True)
    return Fault(FaultKind.TIMEOUT_AFTER, is_first_only=True) if method.loses_reply else Fault()


def _take_fault(name: str, order_id: str) -> Fault | None:
    matching = SandboxFault.objects.filter(
        Q(times_left=None) | Q(times_left__gt=0), operation__in=("", name), order_id__in=("", order_id)
    )
    for ordered in matching.order_by("id"):
        if ordered.times_left is None:
            return Fault(ordered.kind, float(ordered.seconds))
        unchanged = SandboxFault.objects.filter(pk=ordered.pk, times_left=ordered.times_left)
        if unchanged.update(times_left=ordered.times_left - 1):
            return Fault(ordered.kind, float(ordered.seconds))
    return None


def _affects(fault: Fault, request: Request) -> bool:
    if not fault.is_first_only or not request.key:
        return True
    _, is_first = SandboxAnswer.objects.get_or_create(
        key=request.key, defaults={"fingerprint": request.fingerprint, "lost_replies": 1}
    )
    return is_first


def _refused(fault: Fault) -> Reply | None:
    """The answers that are given before the request is executed: they are never stored under the key."""
    if fault.kind == FaultKind.RATE_LIMITED:
        return _error_reply(ProviderError(429, "invalid_request_error", "Too many requests.", code="rate_limit"))
    if fault.kind == FaultKind.CONFLICT:
        code, message = "idempotency_key_in_use", "Another request with this key is in progress."
        return _error_reply(ProviderError(409, "idempotency_error", message, code=code))
    if fault.kind == FaultKind.ERROR_500:
        return _error_reply(ProviderError(500, "api_error", "An unknown error occurred."))
    return None


@transaction.atomic
def _perform(
    request: Request, operation: Callable[..., Body], arguments: tuple[str, ...], fault: Fault
) -> tuple[Reply, bool]:
    """Execute the request once for each key. The effect and the stored answer are committed together.

    Returns the reply, and whether this is the first request with its key.
    """
    if not request.key:
        return _run(request, operation, arguments)[0], True
    stored = _stored_answer(request)
    if stored.fingerprint not in ("", request.fingerprint):
        message = "Keys for idempotent requests can only be used with the same parameters they were first used with."
        return _error_reply(ProviderError(400, "idempotency_error", message)), False
    if stored.status:
        return Reply(stored.status, stored.body, {"idempotent-replayed": "true"}), False
    reply, is_final = _run_with_saved_fault(request, operation, arguments, fault)
    if is_final:
        stored.status, stored.body, stored.fingerprint = reply.status, reply.body, request.fingerprint
    else:
        stored.fingerprint = ""  # a request that was not executed leaves its key free
    stored.save(update_fields=["status", "body", "fingerprint"])
    return reply, True


def _stored_answer(request: Request) -> SandboxAnswer:
    """The row of this key, locked: a second request with the key waits here for the first one's answer."""
    fresh = SandboxAnswer(key=request.key, fingerprint=request.fingerprint)
    SandboxAnswer.objects.bulk_create([fresh], ignore_conflicts=True)
    stored = SandboxAnswer.objects.select_for_update().get(pk=request.key)
    if stored.created_at <= timezone.now() - REPLAY_WINDOW:
        fresh.save(force_update=True)
        return fresh
    return stored


def _run_with_saved_fault(
    request: Request, operation: Callable[..., Body], arguments: tuple[str, ...], fault: Fault
) -> tuple[Reply, bool]:
    failure = _error_reply(ProviderError(500, "api_error", "An unknown error occurred."))
    if fault.kind == FaultKind.SAVED_500:
        return failure, True
    reply, is_final = _run(request, operation, arguments)
    return (failure, True) if fault.kind == FaultKind.SAVED_500_AFTER else (reply, is_final)


def _run(request: Request, operation: Callable[..., Body], arguments: tuple[str, ...]) -> tuple[Reply, bool]:
    try:
        return Reply(200, json.dumps(operation(request, *arguments))), True
    except ProviderError as error:
        return _error_reply(error), error.is_final


def _error_reply(error: ProviderError) -> Reply:
    headers = {"stripe-should-retry": "true"} if error.status == HTTPStatus.CONFLICT else {}
    return Reply(error.status, json.dumps(error.body), headers)


def _pause(fault: Fault, seconds_left: float) -> None:
    if fault.kind != FaultKind.SLOW:
        return
    time.sleep(min(fault.seconds, seconds_left))
    if fault.seconds > seconds_left:
        raise ReplyLost("The provider answered too late.")


def _garbled(reply: Reply, fault: Fault) -> Reply:
    if fault.kind == FaultKind.GARBAGE:
        return Reply(200, "<html>It works!</html>", reply.headers)
    if fault.kind == FaultKind.WRONG_AMOUNT and reply.status == HTTPStatus.OK:
        body = json.loads(reply.body)
        body["amount"] = body.get("amount", 0) + 1
        return Reply(200, json.dumps(body), reply.headers)
    return reply
