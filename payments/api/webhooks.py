"""Where the provider's events arrive."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from payments import webhooks
from sagas.rest.endpoint import Endpoint


class StripeWebhook(Endpoint):
    """Events of the payment provider. The signature is the authentication; a repeated event changes nothing."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()

    @extend_schema(request=dict[str, str], responses={200: dict[str, bool]}, operation_id="receive_stripe_event")
    def post(self, request: Request) -> Response:
        # The signature covers the bytes as they came, so the body is not parsed by DRF.
        body: bytes = request._request.body  # noqa: SLF001
        is_new = webhooks.receive(body, request.headers.get("Stripe-Signature", ""))
        return Response({"received": True, "is_new": is_new})
