"""`make docs`: write the diagrams and tables that the documents take from the code."""

from __future__ import annotations

import os
import sys

import django
from django.test.utils import setup_databases, teardown_databases


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")
    django.setup()
    from tests.documents import blocks

    databases = setup_databases(verbosity=0, interactive=False)
    try:
        changed = [path for path in blocks.DOCUMENTS if blocks.write(path)]
    finally:
        teardown_databases(databases, verbosity=0)
    lines = [f"{path.relative_to(blocks.ROOT)} written" for path in changed] or ["Nothing to change."]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
