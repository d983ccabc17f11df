"""The sandbox provider over HTTP, when the connection breaks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from payments.sandbox.models import SandboxAnswer, SandboxIntent
from payments.sandbox.server import serve

pytestmark = pytest.mark.django_db(transaction=True)

FORM = urlencode({"amount": 1299, "currency": "usd", "capture_method": "manual", "payment_method": "pm_card_visa"})
HEAD = (
    "POST /v1/payment_intents HTTP/1.1\r\nHost: sandbox\r\nIdempotency-Key: half\r\n"
    f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(FORM)}\r\n\r\n"
)


@pytest.fixture
def port(transactional_db: None) -> Iterator[int]:
    server = serve("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def sent(port: int, text: str) -> str:
    """Send this text and nothing more. Returns the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(text.encode())
        line.shutdown(socket.SHUT_WR)
        return line.makefile("rb").read().decode()


@pytest.mark.parametrize("half", [HEAD, HEAD + FORM[:20]], ids=["no body", "half a body"])
def test_what_arrives_in_part_has_no_effect_and_leaves_its_key_free(port: int, half: str) -> None:
    assert sent(port, half) == ""
    assert not SandboxIntent.objects.exists()
    assert not SandboxAnswer.objects.exists()
    assert sent(port, HEAD + FORM).startswith("HTTP/1.1 200")
    assert SandboxIntent.objects.get().amount == 1299
