"""Which definitions this process knows, by name and version."""

from __future__ import annotations

from sagas.definition.saga import Saga
from sagas.errors import UnknownDefinition

_definitions: dict[tuple[str, int], Saga] = {}


def register(*definitions: Saga) -> None:
    """Make definitions known. Called from `<app>/sagas/__init__.py`, which is imported at start-up.

    Old versions stay registered for as long as sagas started with them may run.
    """
    for definition in definitions:
        _definitions[definition.name, definition.version] = definition


def unregister(definition: Saga) -> None:
    """Forget a definition; for tests that define sagas of their own."""
    _definitions.pop((definition.name, definition.version), None)


def get(name: str, version: int) -> Saga:
    """The definition a saga was started with. Raises `UnknownDefinition`."""
    definition = find(name, version)
    if definition is None:
        raise UnknownDefinition(f"{name} v{version} is not defined here.")
    return definition


def find(name: str, version: int) -> Saga | None:
    """The same, None if this process does not know it: sagas of another release are left to its processes."""
    return _definitions.get((name, version))


def latest(name: str) -> Saga:
    versions = [version for known, version in _definitions if known == name]
    if not versions:
        raise UnknownDefinition(f"{name} is not defined here.")
    return _definitions[name, max(versions)]


def all_definitions() -> list[Saga]:
    return [_definitions[key] for key in sorted(_definitions)]
