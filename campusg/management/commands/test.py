from __future__ import annotations

import sys

from django.core.management.base import BaseCommand

from tests import environments


class Command(BaseCommand):
    help = "Runs the test suite on every lane that can be had here. All arguments go to pytest."

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            code = environments.main(argv[2:])
        except KeyboardInterrupt:
            code = 130
        sys.exit(code)
