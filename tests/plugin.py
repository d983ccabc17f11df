"""The pytest plugin of `manage.py test`: separates parallel workers, leaves slow tests out, reports the result.

It is loaded by `-p`, which comes before pytest-django reads the settings.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

COUNTED = {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped"}


def share_of(worker: str, given: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of one pytest-xdist worker ("gw0", "gw1", …), from those of the whole run.

    A worker has a folder, a virtual host and a Redis database of its own; pytest-django gives it a database.
    """
    share = {"CAMPUSG_VAR_DIR": f"{given['CAMPUSG_VAR_DIR']}/{worker}"}
    if url := given.get("BROKER_URL"):
        share["BROKER_URL"] = url.removesuffix("/") + worker
    if url := given.get("REDIS_URL"):
        share["REDIS_URL"] = re.sub(r"\d+$", worker.removeprefix("gw"), url)
    return share


if (name := os.environ.get("PYTEST_XDIST_WORKER")) and "CAMPUSG_VAR_DIR" in os.environ:
    os.environ.update(share_of(name, os.environ))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("campusg")
    group.addoption("--report", type=Path, help="write the counts and the failed tests to this file, as JSON")
    group.addoption("--without-slow", action="store_true", help="leave out the tests marked `slow`")
    group.addoption("--slow-from", action="append", default=[], metavar="FILE", help="but not those of this file")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Results(config.getoption("report")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests are left out if asked for; else workers begin with them, so that none waits for another at the end."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    if config.getoption("without_slow"):
        _leave_out([item for item in slow if _file(item) not in config.getoption("slow_from")], items, config)
    elif hasattr(config, "workerinput"):
        first = {_file(item) for item in slow}
        items.sort(key=lambda item: _file(item) not in first)


def _leave_out(unwanted: list[pytest.Item], items: list[pytest.Item], config: pytest.Config) -> None:
    if unwanted:
        items[:] = [item for item in items if item not in unwanted]
        config.hook.pytest_deselected(items=unwanted)


def _file(item: pytest.Item) -> str:
    return item.nodeid.split("::")[0]


class Results:
    """Counts what happened. Only a worker sees what is deselected, so it tells the main process."""

    def __init__(self, report: Path | None) -> None:
        self.report = report
        self.deselected = 0

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.deselected += len(items)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["deselected"] = self.deselected

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.deselected = max(self.deselected, getattr(node, "workeroutput", {}).get("deselected", 0))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.report is None:
            return
        counts: dict[str, int] = dict.fromkeys(COUNTED.values(), 0) | {"deselected": self.deselected}
        for kind, name in COUNTED.items():
            counts[name] += len(terminalreporter.stats.get(kind, []))
        failures = [report.nodeid for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, [])]
        self.report.write_text(json.dumps({"counts": counts, "failures": failures}))
