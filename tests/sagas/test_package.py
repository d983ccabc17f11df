"""`campusg-sagas`: what it asks for is what the project uses, and what its modules import."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sagas"
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: What a distribution is imported as, where that is not its name.
MODULES = {
    "djangorestframework": "rest_framework", "django-filter": "django_filters", "drf-spectacular": "drf_spectacular",
    "django-unfold": "unfold", "psycopg2-binary": "psycopg2",
}  # fmt: skip
#: Which extras a module may import from, beside the core's requirements; a folder or file decides for all below it.
MAY_ALSO_USE = {"rest": ("rest", "throttling", "openapi", "admin"), "admin.py": ("admin",)}
#: The one module that pytest itself imports.
PLUGIN = "pytest_plugin.py"


def requirements(*groups: str) -> list[Requirement]:
    given = [*PROJECT["dependencies"], *(line for group in groups for line in EXTRAS[group])]
    return [found for line in given if (found := Requirement(line)).name != PROJECT["name"]]


def lines_of(name: str) -> Iterator[Requirement]:
    for line in (ROOT / name).read_text().splitlines():
        if re.match(r"[A-Za-z]", line):
            yield Requirement(line.split(" \\")[0])


ALL = requirements(*EXTRAS)


@pytest.mark.parametrize("wanted", ALL, ids=str)
def test_what_the_engine_asks_for_is_what_the_project_uses(wanted: Requirement) -> None:
    """The same oldest version, and the version this project is tested with is one the engine accepts."""
    [ours] = [found for found in lines_of("requirements.in") if canonicalize_name(found.name) == wanted.name]
    [pin] = [found for found in lines_of("requirements.txt") if canonicalize_name(found.name) == wanted.name]
    assert oldest(wanted) == oldest(ours)
    [version] = [found.version for found in pin.specifier]
    assert wanted.specifier.contains(version)


def oldest(requirement: Requirement) -> str:
    """The lowest version it names: `>=5.2` and `==5.2.*` are both 5.2."""
    [found] = [part.version for part in requirement.specifier if part.operator in {">=", "=="}]
    return found.removesuffix(".*")


def imports_of(path: Path) -> set[str]:
    """The top-level modules a file imports that are neither its own nor the standard library's."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"sagas"}


def test_every_module_imports_only_what_its_part_of_the_package_asks_for() -> None:
    beyond = {}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE)
        allowed = {module(found) for found in requirements(*MAY_ALSO_USE.get(part.parts[0], ()))}
        allowed |= {"pytest"} if str(part) == PLUGIN else set()
        if extra := imports_of(path) - allowed:
            beyond[str(part)] = extra
    assert beyond == {}


def module(requirement: Requirement) -> str:
    return MODULES.get(requirement.name, requirement.name)


def test_every_requirement_is_imported_somewhere() -> None:
    used = {name for path in PACKAGE.rglob("*.py") for name in imports_of(path)}
    assert {module(found) for found in ALL} - used == {"psycopg2"}  # Django's PostgreSQL backend imports it


def test_the_package_has_its_types_its_licence_and_its_plugin() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    [target] = PROJECT["entry-points"]["pytest11"].values()
    assert (ROOT / f"{target.replace('.', '/')}.py").name == PLUGIN
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
    assert workspace["members"] == ["sagas"]
