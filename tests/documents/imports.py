"""Which module imports which, read from the source. Names are dotted: `sagas.engine.sweep`."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PACKAGES: list[str] = CONTRACTS["root_packages"]

#: Who imports whom, and the names of those that are imported.
Imports = Mapping[tuple[str, str], set[str]]


def contract(name: str) -> dict[str, Any]:
    """One of import-linter's contracts in `pyproject.toml`."""
    (found,) = [each for each in CONTRACTS["contracts"] if each["name"] == name]
    return dict(found)


def layers(name: str) -> list[list[str]]:
    """The layers of a contract, highest first. Groups of one layer are in one list."""
    return [layer.replace(" ", "").split("|") for layer in contract(name)["layers"]]


@cache
def modules() -> dict[str, Path]:
    """Every module of the product but migrations."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts]
    return {_name(path): path for path in sorted(files)}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports() -> list[tuple[str, str]]:
    """Every import of one of our modules by another."""
    return [(name, target) for name, path in modules().items() for target in _targets(path)]


def _targets(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module in modules():
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in modules() else node.module


def between(groups: Iterable[str]) -> Imports:
    """The imports between groups of modules. A module belongs to the longest group that its name begins with."""
    ordered = sorted(groups, key=len, reverse=True)
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for importer, imported in imports():
        one, other = _group(importer, ordered), _group(imported, ordered)
        if one and other and one != other:
            found[one, other].add(imported)
    return found


def _group(module: str, groups: list[str]) -> str:
    return next((group for group in groups if f"{module}.".startswith(f"{group}.")), "")


def without_detours(edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges that do not follow from others: an edge goes if a longer way leads to the same place."""
    kept = set(edges)
    return sorted((a, b) for a, b in kept if not any(_leads(c, b, kept) for x, c in kept if x == a and c != b))


def _leads(start: str, end: str, edges: set[tuple[str, str]]) -> bool:
    return start == end or any(_leads(after, end, edges) for before, after in edges if before == start)


def parts(package: str) -> list[str]:
    """What a package holds: its folders, with a slash, and then its modules."""
    inside = {name.removeprefix(f"{package}.").partition(".") for name in modules() if name.startswith(f"{package}.")}
    folders = {first for first, dot, _ in inside if dot}
    files = {first for first, dot, _ in inside if not dot} - folders
    empty = {name for name in files if (ROOT / package.replace(".", "/") / name).is_dir()}
    return [f"{name}/" for name in sorted(folders | empty)] + sorted(files - empty)
