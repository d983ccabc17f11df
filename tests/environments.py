"""`manage.py test`: the suite, once for each way to run the product.

    embedded   SQLite and the in-process broker; always
    servers    PostgreSQL, RabbitMQ and Redis: given by TEST_DATABASE_URL, TEST_BROKER_URL, TEST_REDIS_URL, else private

A lane is a pytest process of its own, because settings are read once. With CI=true a missing lane or server fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.servers.private import KINDS, PrivateServers

ROOT = Path(__file__).resolve().parent.parent
#: What each server is called in the environment: for the user, and for the settings.
TEST_URLS = {"postgres": "TEST_DATABASE_URL", "rabbitmq": "TEST_BROKER_URL", "redis": "TEST_REDIS_URL"}
SETTINGS_URLS = {"postgres": "DATABASE_URL", "rabbitmq": "BROKER_URL", "redis": "REDIS_URL"}
#: Exit code of pytest when nothing was collected.
NOTHING_COLLECTED = 5


@dataclass
class Lane:
    """One way to run the suite, and how it went."""

    name: str
    urls: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    exit_code: int = 0

    @property
    def description(self) -> str:
        if not self.urls and not self.missing:
            return "SQLite, in-process broker"
        return ", ".join([*self.urls, *(f"no {name} ({reason})" for name, reason in self.missing.items())])

    @property
    def is_failed(self) -> bool:
        return self.exit_code not in {0, NOTHING_COLLECTED}

    def environment(self, report: Path) -> dict[str, str]:
        """The user's environment without the settings of a running installation, and with this lane's."""
        inherited = {name: value for name, value in os.environ.items() if not is_setting(name)}
        servers = {SETTINGS_URLS[name]: url for name, url in self.urls.items()}
        return (
            inherited
            | servers
            | {
                "SECRET_KEY": secrets.token_urlsafe(48),
                "CAMPUSG_VAR_DIR": str(report.parent / "var"),
                "CAMPUSG_ALLOW_SANDBOX_PAYMENTS": "1",
                "CAMPUSG_TEST_REPORT": str(report),
                "CAMPUSG_BOOTSTRAP": "0",
                "CAMPUSG_ENV_FILE": os.devnull,
                "DJANGO_SETTINGS_MODULE": "campusg.settings",
            }
        )

    def run(self, arguments: list[str]) -> None:
        with tempfile.TemporaryDirectory(prefix="campusg-tests-") as folder:
            report = Path(folder) / "report.json"
            command = [sys.executable, "-m", "pytest", *arguments]
            self.exit_code = subprocess.call(command, cwd=ROOT, env=self.environment(report))
            if report.exists():
                self.counts = Counter(json.loads(report.read_text()))
        if self.is_failed and not self.counts["failed"]:
            self.counts["failed"] += 1  # pytest itself fell over

    @property
    def summary(self) -> str:
        parts = [f"{self.counts['passed']} passed", f"{self.counts['failed']} failed"]
        parts += [f"{self.counts[kind]} {kind}" for kind in ("skipped", "deselected") if self.counts[kind]]
        return ", ".join(parts)


def is_setting(name: str) -> bool:
    if name.startswith("CAMPUSG_TEST_"):
        return False
    return name.startswith(("CAMPUSG_", "STRIPE_")) or name in {*SETTINGS_URLS.values(), "SECRET_KEY"}


def main(arguments: list[str]) -> int:
    is_ci = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
    # A terminated run must stop its servers too.
    signal.signal(signal.SIGTERM, _interrupt)
    lanes = [Lane("embedded")]
    with servers_lane() as servers:
        print_header(lanes, servers)
        if servers.urls:
            lanes.append(servers)
        for lane in lanes:
            say(f"\n=== Lane {lane.name}: {lane.description}")
            lane.run(arguments)
    missing = [] if not is_ci else [f"{name}: {reason}" for name, reason in servers.missing.items()]
    return conclude(lanes, missing)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def servers_lane() -> Iterator[Lane]:
    """The lane with real servers: the given ones, and private ones for the rest."""
    given = {name: url for name in KINDS if (url := os.environ.get(TEST_URLS[name], ""))}
    with PrivateServers([name for name in KINDS if name not in given]) as private:
        yield Lane("servers", urls=given | private.urls, missing=private.missing)


def print_header(lanes: list[Lane], servers: Lane) -> None:
    for lane in lanes:
        say(f"Lane {lane.name} runs: {lane.description}.")
    for name in servers.urls:
        say(
            f"Lane servers has {name}: {'given by ' + TEST_URLS[name] if TEST_URLS[name] in os.environ else 'private'}."
        )
    for name, reason in servers.missing.items():
        say(f"Lane servers lacks {name}: {reason}. Tests that need it do not run; {TEST_URLS[name]} can name one.")
    if not servers.urls:
        say("Lane servers does not run: it has no server at all.")


def conclude(lanes: list[Lane], missing: list[str]) -> int:
    """Print what ran where, ending in one line for all; returns the exit code."""
    say("")
    for lane in lanes:
        say(f"Lane {lane.name}: {lane.summary}")
    for server in missing:
        say(f"CI: the servers lane lacks {server}")
    total: Counter[str] = sum((lane.counts for lane in lanes), Counter())
    total["failed"] += len(missing)
    say(
        f"{total['passed']} passed, {total['failed']} failed"
        + (f", {total['skipped']} skipped" if total["skipped"] else "")
    )
    if total["failed"] or any(lane.is_failed for lane in lanes):
        return 1
    return 0 if total["passed"] else NOTHING_COLLECTED


def say(message: str) -> None:
    print(message, flush=True)  # noqa: T201
