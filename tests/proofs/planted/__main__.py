"""Write `docs/reference/planted-bugs.md` from the table of defects: `python -m tests.proofs.planted`."""

from __future__ import annotations

import os
from pathlib import Path

HEAD = """# Planted bugs

A suite that never saw a failure proves nothing. Each defect below is put into the product, one at a time, by
`tests/proofs/planted/`, and the check beside it must then fail; without the defect it must pass. This page is written
by `python -m tests.proofs.planted` and compared with the table by a test.

| # | defect | what is changed | caught by |
|---|---|---|---|
"""


def table() -> str:
    from tests.proofs.planted.defects import DEFECTS

    rows = []
    for number, defect in enumerate(DEFECTS, start=1):
        changes = "; ".join(" ".join(str(change).split()) for change in defect.changes).replace("|", "\\|")
        rows.append(f"| {number} | {defect.name} | {changes} | {defect.check.name} |\n")
    return HEAD + "".join(rows)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")
    import django

    django.setup()
    target = Path(__file__).parents[3] / "docs" / "reference" / "planted-bugs.md"
    target.write_text(table())


if __name__ == "__main__":
    main()
