from __future__ import annotations

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from campusg.launch import demo, processes

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Command(BaseCommand):
    help = "Starts CampusG: database, demo data, web, worker and beat."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--no-demo", action="store_true", help="no demo menu, admin or customer")

    def handle(self, *, host: str, port: int, no_demo: bool, **_: Any) -> None:
        try:
            listener = processes.listen(host, port)
        except processes.PortTaken as error:
            raise CommandError(str(error)) from error
        self.stderr.write("Bringing the database up to date …")
        call_command("migrate", verbosity=0)
        access = None if no_demo else demo.seed()

        def announce() -> None:
            self.stdout.write(demo.banner(_url(host, port), access, is_public=host not in LOOPBACK))
            self.stdout.flush()

        if settings.EMBEDDED:
            processes.run_embedded(listener, announce)
        else:
            listener.close()
            sys.exit(processes.run_processes(host, port, announce))


def _url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - it is only compared
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
