"""`manage.py test`: the suite, once in each test environment.

    embedded   SQLite and the in-process broker; always available
    servers    PostgreSQL, RabbitMQ and Redis: given by TEST_DATABASE_URL, TEST_BROKER_URL, TEST_REDIS_URL, else private

An environment is a pytest process of its own, because settings are read once. It has several workers, and each worker
has its own share of the servers (see `tests.plugin`). With CI=true a missing server is a failure.
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
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests import options, selection
from tests.options import Options
from tests.servers import PrivateServers, children_of
from tests.servers.private import KINDS

ROOT = Path(__file__).resolve().parent.parent
#: What each server is called in the environment: for the user, and for the settings.
TEST_URLS = {"postgres": "TEST_DATABASE_URL", "rabbitmq": "TEST_BROKER_URL", "redis": "TEST_REDIS_URL"}
SETTINGS_URLS = {"postgres": "DATABASE_URL", "rabbitmq": "BROKER_URL", "redis": "REDIS_URL"}
#: A given server of these kinds has one share only, so that one worker uses it.
NOT_SHARED = {"rabbitmq", "redis"}
#: Exit code of pytest when nothing was collected.
NOTHING_COLLECTED = 5
#: How long an interrupted pytest may take to stop what its tests have started.
STOP_SECONDS = 30


@dataclass
class Environment:
    """A test environment, and the result of its run."""

    name: str
    urls: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    exit_code: int = 0
    seconds: float = 0.0

    @property
    def description(self) -> str:
        if not self.urls and not self.missing:
            return "SQLite, in-process broker"
        return ", ".join([*self.urls, *(f"no {name} ({reason})" for name, reason in self.missing.items())])

    @property
    def is_failed(self) -> bool:
        return self.exit_code not in {0, NOTHING_COLLECTED}

    @property
    def summary(self) -> str:
        parts = [f"{self.counts['passed']} passed", f"{self.counts['failed']} failed"]
        parts += [f"{self.counts[kind]} {kind}" for kind in ("skipped", "deselected") if self.counts[kind]]
        return ", ".join(parts) + f" in {self.seconds:.0f} s"

    def workers(self, wanted: int) -> int:
        return 0 if self.given & NOT_SHARED else wanted

    def variables(self, folder: Path) -> dict[str, str]:
        """The user's environment without the settings of a running installation, and with this environment's."""
        inherited = {name: value for name, value in os.environ.items() if not is_setting(name)}
        servers = {SETTINGS_URLS[name]: url for name, url in self.urls.items()}
        return (
            inherited
            | servers
            | {
                "SECRET_KEY": secrets.token_urlsafe(48),
                "CAMPUSG_VAR_DIR": str(folder / "var"),
                "CAMPUSG_ALLOW_SANDBOX_PAYMENTS": "1",
                "CAMPUSG_BOOTSTRAP": "0",
                "CAMPUSG_ENV_FILE": os.devnull,
                "DJANGO_SETTINGS_MODULE": "campusg.settings",
            }
        )

    def command(self, wanted: Options, report: Path) -> list[str]:
        """Tests of one file stay together, because they may share a fixture."""
        python = [sys.executable, "-m", "pytest", "-p", "tests.plugin", f"--report={report}"]
        parallel = ["-n", str(self.workers(wanted.workers)), "--dist=loadfile", "--no-loadscope-reorder"]
        separate = ["--max-worker-restart=0", "-o", f"cache_dir=.pytest_cache/{self.name}"]
        return [*python, *parallel, *separate, *wanted.arguments]

    def run(self, wanted: Options) -> None:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="campusg-tests-") as name:
            report = Path(name) / "report.json"
            self.exit_code = call(self.command(wanted, report), self.variables(report.parent))
            if report.exists():
                self._read(report)
        self.seconds = time.monotonic() - began
        if self.is_failed and not self.counts["failed"]:
            self.counts["failed"] += 1
            self.failures.append(f"pytest itself, with exit code {self.exit_code}")

    def _read(self, report: Path) -> None:
        found = json.loads(report.read_text())
        self.counts, self.failures = Counter(found["counts"]), found["failures"]


class Terminated(KeyboardInterrupt):
    """SIGTERM. Unlike Ctrl-C, it did not reach pytest and its workers."""


def call(command: list[str], variables: Mapping[str, str]) -> int:
    """Run pytest and return its exit code. If this process is interrupted, pytest stops its tests first."""
    with subprocess.Popen(command, cwd=ROOT, env=variables) as process:
        try:
            return process.wait()
        except KeyboardInterrupt as reason:
            if isinstance(reason, Terminated):
                interrupt(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(STOP_SECONDS)
            process.kill()
            raise


def interrupt(pid: int) -> None:
    for number in [*children_of(pid), pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGINT)


def is_setting(name: str) -> bool:
    if name.startswith("CAMPUSG_TEST_"):
        return False
    return name.startswith(("CAMPUSG_", "STRIPE_")) or name in {*SETTINGS_URLS.values(), "SECRET_KEY"}


def main(arguments: list[str]) -> int:
    wanted = options.parse(arguments)
    if wanted.is_quick:
        wanted, sentence = selection.narrow(wanted, ROOT)
        say(f"Quick: {sentence}.")
    signal.signal(signal.SIGTERM, _terminate)
    is_ci = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
    with contextlib.ExitStack() as stack:
        environments = [Environment("embedded")] if "embedded" in wanted.environments else []
        servers = stack.enter_context(servers_environment()) if "servers" in wanted.environments else None
        print_header(environments, servers)
        if servers and servers.urls:
            environments.append(servers)
        for environment in environments:
            say(f"\n=== {environment.name}: {environment.description}")
            environment.run(wanted)
    missing = servers.missing if is_ci and servers else {}
    return conclude(environments, [f"{name}: {reason}" for name, reason in missing.items()])


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


@contextlib.contextmanager
def servers_environment() -> Iterator[Environment]:
    """The environment with real servers: the given ones, and private ones for the rest."""
    given = {name: url for name in KINDS if (url := os.environ.get(TEST_URLS[name], ""))}
    with PrivateServers([name for name in KINDS if name not in given], virtual_hosts=options.WORKERS) as private:
        yield Environment("servers", given | private.urls, private.missing, frozenset(given))


def print_header(environments: list[Environment], servers: Environment | None) -> None:
    for environment in environments:
        say(f"Environment {environment.name}: {environment.description}.")
    if servers is None:
        return
    for name in servers.urls:
        source = f"given by {TEST_URLS[name]}" if name in servers.given else "private"
        say(f"Environment servers has {name}: {source}.")
    for name, reason in servers.missing.items():
        say(f"Environment servers lacks {name}: {reason}. Its tests do not run; {TEST_URLS[name]} can name a server.")
    if not servers.urls:
        say("Environment servers does not run: it has no server at all.")


def conclude(environments: list[Environment], missing: list[str]) -> int:
    """Print the failed tests and the counts, with one last line for all. Returns the exit code."""
    say("")
    for environment in environments:
        for test in environment.failures:
            say(f"FAILED in {environment.name}: {test}")
    for environment in environments:
        say(f"Environment {environment.name}: {environment.summary}")
    for server in missing:
        say(f"CI: environment servers lacks {server}")
    total: Counter[str] = sum((environment.counts for environment in environments), Counter())
    total["failed"] += len(missing)
    say(
        f"{total['passed']} passed, {total['failed']} failed"
        + (f", {total['skipped']} skipped" if total["skipped"] else "")
    )
    if total["failed"] or any(environment.is_failed for environment in environments):
        return 1
    return 0 if total["passed"] else NOTHING_COLLECTED


def say(message: str) -> None:
    print(message, flush=True)  # noqa: T201
