"""The payment provider: a process of its own behind a proxy. Only this process writes its ledger."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.harness.fleet import ROOT
from tests.servers import PrivateServer


class PrivateProvider(PrivateServer):
    """`manage.py sandbox_provider`, as a server that can be killed and started again."""

    name = "provider"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.sqlite3"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        program = [sys.executable, str(ROOT / "manage.py"), "sandbox_provider"]
        return [*program, "--port", str(self.port), "--ledger", str(self.ledger)]

    def _environment(self) -> dict[str, str]:
        """The provider has the product's code, and neither its database nor its broker."""
        return super()._environment() | {
            "DJANGO_SETTINGS_MODULE": "campusg.settings", "CAMPUSG_BOOTSTRAP": "0", "DATABASE_URL": "",
            "BROKER_URL": "", "REDIS_URL": "", "CAMPUSG_VAR_DIR": str(self.folder / "var"),
        }  # fmt: skip

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
