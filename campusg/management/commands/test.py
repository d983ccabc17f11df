from __future__ import annotations

import sys
from pathlib import Path

from django.core.management.base import BaseCommand

TESTS = Path(__file__).resolve().parents[3] / "tests"


class Command(BaseCommand):
    help = "Runs the tests in each test environment that is available here. See `manage.py test --help`."

    def run_from_argv(self, argv: list[str]) -> None:
        if not TESTS.is_dir():
            sys.exit("The tests are not part of this installation. They come with a clone of the repository.")
        from tests import environments  # an image has no tests, so not at import time

        try:
            code = environments.main(argv[2:])
        except KeyboardInterrupt:
            code = 130
        sys.exit(code)
