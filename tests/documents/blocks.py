"""Writes what documents take from the code between its two markers:

<!-- from the code: rooms -->
…
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.documents import diagrams
from tests.documents.imports import ROOT

#: The documents that have such parts.
DOCUMENTS = (ROOT / "docs/explanation/architecture.md", ROOT / "docs/reference/saga-moves.md")
#: Returns the content of a block; the argument is its present content, of which hand-written cells are kept.
Block = Callable[[str], str]
BLOCKS: Mapping[str, Block] = {
    "project": lambda _: diagrams.project(),
    "apps": diagrams.app_table,
    "engine": lambda _: diagrams.engine(),
    "rooms": diagrams.room_table,
    "order": lambda _: diagrams.order(),
    "statuses": lambda _: diagrams.saga_statuses(),
    "phases": lambda _: diagrams.saga_phases(),
    "moves": lambda _: diagrams.saga_moves(),
}
_BLOCK = re.compile(r"(<!-- from the code: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def current(text: str) -> str:
    """The text with every block as the code has it now."""
    return _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](found[3])}\n{found[4]}", text)


def names(text: str) -> list[str]:
    return [found[2] for found in _BLOCK.finditer(text)]


def write(document: Path) -> bool:
    """Bring a document up to date. Returns whether anything changed."""
    before = document.read_text()
    after = current(before)
    document.write_text(after)
    return after != before
