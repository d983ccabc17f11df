"""A web process as its clients see it: real sockets, real status codes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Web:
    port: int
    token: str = ""

    def post_order(self, *, timeout: float = 30) -> Response:
        body = {
            "customer_id": "cust_123",
            "order_details": {"foodItems": [{"name": "Soup", "price": 4.5, "quantity": 1}]},
        }
        return self.request("POST", "/api/orders", body, timeout=timeout)

    def request(self, method: str, path: str, body: object = None, *, timeout: float = 30, key: str = "") -> Response:
        began = time.monotonic()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = {"Host": "localhost", "Content-Type": "application/json", "Authorization": f"Token {self.token}"}
        if key:
            headers["Idempotency-Key"] = key
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            received = connection.getresponse()
            text = received.read()
            content = json.loads(text) if text[:1] in (b"{", b"[") else {}
            return Response(received.status, dict(received.getheaders()), content, time.monotonic() - began)
        finally:
            connection.close()

    def wait_until_up(self, *, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.request("GET", "/livez", timeout=5).status == 200:
                    return
            except (OSError, HTTPException):
                pass
            assert time.monotonic() < deadline, "the web process did not come up"
            time.sleep(0.2)
