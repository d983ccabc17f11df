"""`manage.py sandbox_provider`: the sandbox payment provider as a separate process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from payments.sandbox.server import open_ledger, serve

DEFAULT_PORT = 8421


class Command(BaseCommand):
    help = "Serve the sandbox payment provider over HTTP, with its own SQLite file. Point STRIPE_API_BASE at it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=DEFAULT_PORT)
        parser.add_argument("--ledger", type=Path, required=True, help="the provider's SQLite file")

    def handle(self, *_args: Any, **options: Any) -> None:
        open_ledger(options["ledger"])
        server = serve(options["host"], options["port"])
        self.stdout.write(f"http://{options['host']}:{server.server_port}")
        self.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            server.server_close()
