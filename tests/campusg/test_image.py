"""The image has product code only: `.dockerignore` allows exactly what the Dockerfile copies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = ["campusg", "orders", "payments", "timers", "sagas"]
#: Folders that are not in the repository.
LOCAL = {".git", ".venv", "var"}
NOT_PRODUCT = re.compile(
    r"(^|/)(tests|benchmarks|docs|__pycache__)/|(^|/)(test_\w+\.py|conftest\.py|pyproject\.toml|[^/]+\.md)$"
)


def patterns() -> list[tuple[re.Pattern[str], bool]]:
    """Each pattern of `.dockerignore`, and whether it allows or excludes."""
    lines = (line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines())
    return [(expression(line.removeprefix("!")), line.startswith("!")) for line in lines if line and line[0] != "#"]


def expression(pattern: str) -> re.Pattern[str]:
    """Anchored at the root; `**` is any number of folders.

    https://docs.docker.com/build/concepts/context/#dockerignore-files
    """
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", pattern)
    return re.compile("".join(tokens.get(part, re.escape(part)) for part in parts))


PATTERNS = patterns()


def is_allowed(path: str) -> bool:
    """The last pattern that matches the path or a parent folder decides."""
    above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    is_in = True
    for pattern, allows in PATTERNS:
        if any(pattern.fullmatch(name) for name in (path, *above)):
            is_in = allows
    return is_in


def checkout() -> Iterator[str]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(set(folders) - LOCAL)
        yield from (str((Path(folder) / name).relative_to(ROOT)) for name in files)


def test_the_image_holds_every_app() -> None:
    copied = re.findall(r"^COPY (\w+) \./\1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert copied == APPS


def test_what_is_allowed_is_what_is_copied() -> None:
    copied = re.findall(r"^COPY ([\w.]+) \./", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {path.split("/")[0] for path in checkout() if is_allowed(path)} == set(copied)


def test_no_test_no_benchmark_and_no_document_gets_in() -> None:
    assert [path for path in checkout() if is_allowed(path) and NOT_PRODUCT.search(path)] == []


def test_every_module_of_an_app_gets_in() -> None:
    product = [path for path in checkout() if path.split("/")[0] in APPS and path.endswith((".py", ".html", ".css"))]
    assert "payments/sandbox/models.py" in product
    assert [path for path in product if not is_allowed(path) and not NOT_PRODUCT.search(path)] == []


@pytest.mark.parametrize(
    "path",
    [
        "tests/conftest.py",
        "benchmarks/soak/run.py",
        "docs/how-to/runbook.md",
        "README.md",
        ".env",
        "var/campusg.sqlite3",
        "payments/sandbox/tests/test_models.py",
        "sagas/tests/conftest.py",
        "sagas/benchmarks/steps.py",
        "sagas/README.md",
        "sagas/pyproject.toml",
        "orders/docs/index.html",
        "orders/__pycache__/models.cpython-313.pyc",
    ],
)
def test_it_stays_outside(path: str) -> None:
    assert not is_allowed(path)
