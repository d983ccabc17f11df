"""The sandbox provider as a process of its own, over HTTP, with its own SQLite file.

Tests compare the product with that file, which the product itself cannot write.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from payments.sandbox import provider
from payments.sandbox.models import SandboxAnswer, SandboxFault, SandboxIntent, SandboxRefund, SandboxTransfer
from payments.sandbox.wire import ReplyLost, Request

TABLES = (SandboxAnswer, SandboxFault, SandboxIntent, SandboxRefund, SandboxTransfer)
LONGEST_ANSWER_SECONDS = 60.0


def open_ledger(path: Path) -> None:
    """Make this file the default database of this process, and create the provider's tables in it."""
    ledger = {
        **connections["default"].settings_dict,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
        },
    }
    settings.DATABASES = {"default": ledger}
    connections.close_all()
    connections.settings = connections.configure_settings(settings.DATABASES)
    del connections["default"]
    connection = connections["default"]
    existing = connection.introspection.table_names()
    with connection.schema_editor() as editor:
        for table in TABLES:
            if table._meta.db_table not in existing:  # noqa: SLF001 - documented by Django
                editor.create_model(table)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # the connection broke: an incomplete request has no effect
            return
        self._answer(body.decode())

    def _answer(self, body: str) -> None:
        key = self.headers.get("Idempotency-Key", "")
        request = Request.parse(self.command, self.path, body, key)
        try:
            reply = provider.answer(request, seconds_left=LONGEST_ANSWER_SECONDS)
        except ReplyLost:
            # The connection breaks: no status, no body.
            self.close_connection = True
            return
        content = reply.body.encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def finish(self) -> None:
        super().finish()
        connections.close_all()  # this thread served one connection and ends now

    def log_message(self, *_args: Any) -> None:
        """Requests are not logged: their effects are in the tables."""


def serve(host: str, port: int) -> ThreadingHTTPServer:
    """A server to call `serve_forever` on. Port 0 takes a free one."""
    return ThreadingHTTPServer((host, port), Handler)
