"""What all private servers share: a free port, a folder, a start that waits until the server answers, and a stop."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

from tests.servers.reaper import Reaper

PORTS = range(18_000, 32_000)
PORTS_TRIED = 200
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 20


class Unavailable(Exception):
    """This server is not available on this machine. The message says why."""


def free_port() -> int:
    """A free port below the range that systems use for outgoing connections. Raises `Unavailable`.

    An outgoing connection could otherwise take the port before its server listens, or while the server is down.
    """
    for _ in range(PORTS_TRIED):
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Unavailable(f"no port is free between {PORTS.start} and {PORTS.stop}")


def children_of(pid: int) -> list[int]:
    """The ids of its living child processes; empty on systems without `/proc`."""
    children = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if (entry / "stat").read_text().rsplit(")", 1)[1].split()[1] == str(pid):
                children.append(int(entry.name))
    return sorted(children)


class PrivateServer(ABC):
    """One server process in a folder of its own. `start` after `kill` or `stop` finds the same port and data."""

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, reaper: Reaper | None = None) -> None:
        self.folder = folder / self.name
        self.reaper = reaper
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _prepare(self) -> None:  # noqa: B027 - not every server needs it
        """Prepare the folder for the first start."""

    def _user(self) -> str | None:
        return None

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    def start(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self._prepare()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                cwd=self.folder,
                user=self._user(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C does not reach the servers
            )
        if self.reaper is not None:
            self.reaper.watch(self.process.pid)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._is_ready():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Unavailable(f"{self.name} did not start: {self._end_of_log()}")
            time.sleep(0.05)

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "its log is empty"

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self.process is None:
            return
        self._signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the server and all its children, as if the machine had lost power.

        PostgreSQL's children have process groups of their own, and PostgreSQL does not start again while one lives.
        """
        if self.process is not None:
            self._signal(signal.SIGSTOP)  # so that it starts no more children
            for child in children_of(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._signal(signal.SIGKILL)
            self.process.wait()
            if self.reaper is not None:
                self.reaper.forget(self.process.pid)
            self.process = None

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
