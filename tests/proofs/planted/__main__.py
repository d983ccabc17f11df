"""Write `docs/reference/planted-bugs.md` from the table of defects: `python -m tests.proofs.planted`."""

from __future__ import annotations

import os
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "planted-bugs.md"
HEAD = """# Planted bugs

A suite that never saw a failure proves nothing. Each defect below is planted in the product, one at a time, and the
check beside it must then fail; without the defect it must pass. No source text is changed: a defect comes in through
a seam that the product offers, so the code behind the seam can be written anew without touching this table.

`python3 manage.py test tests/proofs/planted` plants them all. This page is written by `python -m tests.proofs.planted`
and compared with the table by a test. What no planted defect covers is the [mutation run's](mutation.md).

| # | guarantee | defect | planted as | noticed by |
|---|---|---|---|---|
"""


def page() -> str:
    from tests.proofs.planted.defects import DEFECTS

    lines = [
        f"| {number} | {defect.guarantee} | {defect.name} | {defect.planting.seam} | {defect.check.name} |\n"
        for number, defect in enumerate(DEFECTS, start=1)
    ]
    return HEAD + "".join(lines)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "campusg.settings")
    import django

    django.setup()
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
