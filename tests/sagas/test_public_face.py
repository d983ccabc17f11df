"""What `sagas` exports is what its documentation says, and it can be imported before Django is set up."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import sagas

#: What other apps may import besides `sagas` itself.
PUBLIC_MODULES = {"sagas.embedded", "sagas.rest", "sagas.testing"}
SOURCE = Path(sagas.__file__).read_text()


def test_every_public_name_exists() -> None:
    assert {name: hasattr(sagas, name) for name in sagas.__all__} == dict.fromkeys(sagas.__all__, True)


def test_type_checkers_see_the_names_that_are_loaded_lazily() -> None:
    """The table and the imports for type checkers say the same."""
    (block,) = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {(node.module, alias.name) for node in imports for alias in node.names}
    loaded = {(module, name) for module, names in sagas._HOMES.items() for name in names}
    assert seen == loaded


def test_definitions_are_written_without_django() -> None:
    names = "Retry, Saga, Refusal, best_effort, minutes, seconds, undo, Status"
    script = f"from sagas import {names}; import sys; assert not any(m.startswith('django') for m in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(sagas, "fly")


def test_whatever_is_not_public_is_forbidden_to_other_apps() -> None:
    """A new module of the engine must be named in the contract, or be public."""
    folder = Path(sagas.__file__).parent
    contracts = tomllib.loads((folder.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"] == "Other apps use the engine's public face only"]
    modules = {f"sagas.{path.stem}" for path in folder.iterdir() if path.suffix == ".py" or _is_package(path)}
    assert modules - {"sagas.__init__"} - set(contract["forbidden_modules"]) == PUBLIC_MODULES


def _is_package(path: Path) -> bool:
    return (path / "__init__.py").exists()
