"""What the documents say is true: tables are those the code prints, links lead somewhere, statuses are all drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orders.sagas.create_order import create_order
from sagas.statuses import Status

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "sagas" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMED_TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)[^)]*\)")
HEADING = re.compile(r"\[[^\]]+\]\(((?!\w+://)[^)#\s]*)#([^)\s]+)\)")


def test_the_readme_shows_the_saga_as_it_is() -> None:
    assert str(create_order) in (ROOT / "README.md").read_text()


def test_the_readme_draws_every_status() -> None:
    diagram = (ROOT / "README.md").read_text().split("```mermaid")[1].split("```")[0]
    drawn = set(re.findall(r"^ +(\w+) -->", diagram, re.MULTILINE)) | set(re.findall(r"--> (\w+)", diagram))
    assert drawn == set(Status.values)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = [target for target in LINK.findall(document.read_text()) if "://" not in target]
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []


def test_every_test_that_the_documents_name_exists() -> None:
    named = {match for document in DOCUMENTS for match in NAMED_TEST.findall(document.read_text())}
    missing = [f"{path}::{name}" for path, name in sorted(named) if f"def {name}(" not in _text(ROOT / path)]
    assert named
    assert missing == []


def test_every_document_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    named = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    unnamed = [path for path in DOCUMENTS if path != index and not {path, path.parent} & named]
    assert unnamed == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_a_heading_find_it(document: Path) -> None:
    found = HEADING.findall(document.read_text())
    linked = [(document.parent / path if path else document, heading) for path, heading in found]
    missing = [f"{path}#{heading}" for path, heading in linked if heading not in _headings(_text(path))]
    assert missing == []


def _headings(text: str) -> set[str]:
    """The fragments that GitHub makes of headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
