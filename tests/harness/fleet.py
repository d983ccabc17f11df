"""Real workers, beats and webs: started, stopped, and killed as a whole or one child of them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import children_of
from tests.servers.reaper import Reaper

ROOT = Path(__file__).resolve().parents[2]
CELERY = [sys.executable, "-m", "celery", "-A", "campusg.celery"]
COMMANDS = {
    "worker": [*CELERY, "worker", "-P", "prefork", "-c", "2", "--without-gossip", "--without-mingle", "-l", "WARNING"],
    "beat": [*CELERY, "beat", "-l", "WARNING", "--pidfile="],
}


@dataclass
class Fleet:
    """Processes with one environment. All of them have ended when the `with` block ends.

    Several threads may start and kill processes. One that is started again gets the environment as it is then.
    """

    environment: Mapping[str, str]
    folder: Path
    commands: Mapping[str, list[str]] = field(default_factory=lambda: COMMANDS)
    #: Ends the processes if this one is killed.
    reaper: Reaper | None = None
    processes: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    logs: dict[int, Path] = field(default_factory=dict)
    _started: int = 0
    _is_over: bool = False
    _own_commands: dict[int, list[str] | None] = field(default_factory=dict)
    _leaving: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for process in [*self._leaving, *(one for processes in self.processes.values() for one in processes)]:
                self._end(process)
            self.processes.clear()  # so that no other thread starts them again
            self._is_over = True

    def start(self, role: str, command: list[str] | None = None, **more: str) -> subprocess.Popen[bytes]:
        """Start one process of this role. Its output goes to a file of its own."""
        with self._lock:
            if self._is_over:
                raise RuntimeError("The fleet has ended.")
            self._started += 1
            log = self.folder / f"{role}-{self._started}.log"
            arguments = command or self.commands[role]
            if role == "worker":
                arguments = [*arguments, "-n", f"w{self._started}-{os.getpid()}@localhost"]
            with log.open("wb") as output:
                process = subprocess.Popen(
                    arguments, cwd=ROOT, env={**os.environ, **self.environment, **more}, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )  # fmt: skip
            if self.reaper is not None:
                self.reaper.watch(process.pid)
            self.logs[process.pid] = log
            self._own_commands[process.pid] = command
            self.processes.setdefault(role, []).append(process)
        return process

    def replace(self, role: str, process: subprocess.Popen[bytes]) -> None:
        """Kill -9 a process with all its children and start another in its place."""
        with self._lock:
            if process in self.processes[role]:  # else another thread has ended it
                self.kills[role] += 1
                self.stop(role, process)
                self.start(role, self._own_commands[process.pid])

    def stop(self, role: str, process: subprocess.Popen[bytes]) -> None:
        """Kill -9 a process with all its children. It is not started again."""
        with self._lock:
            self._end(process)
            self.processes[role].remove(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        kill_group(process)
        if self.reaper is not None:
            self.reaper.forget(process.pid)

    def retire(self, role: str, process: subprocess.Popen[bytes], *, seconds: float) -> bool | None:
        """Send SIGTERM, as a deploy does, and wait until the process has ended.

        False: it had to be killed. None: another thread had ended it before.
        """
        with self._lock:
            if process not in self.processes[role]:
                return None
            self.processes[role].remove(process)
            self._leaving.append(process)
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self._end(process)  # and its children, if some are left
        return True

    def renew(self, role: str, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Start another process with the command of this one."""
        return self.start(role, self._own_commands[process.pid])

    def kill_any(self, role: str, chance: random.Random) -> bool:
        """Kill -9 one process with its children and start it again. False: none is up."""
        with self._lock:
            if not self.processes.get(role):
                return False
            self.replace(role, chance.choice(self.processes[role]))
            return True

    def kill_any_child(self, chance: random.Random, workers: Iterable[subprocess.Popen[bytes]] | None = None) -> bool:
        """Kill -9 one prefork child of one of the workers (all workers by default). False: none is up yet."""
        with self._lock:
            among = self.processes["worker"] if workers is None else workers
            children = [child for worker in among for child in children_of(worker.pid)]
            if not children:
                return False
            with suppress(ProcessLookupError):
                os.kill(chance.choice(children), signal.SIGKILL)
            self.kills["child"] += 1
            return True

    def restart_ended(self) -> list[str]:
        """Start processes that ended by themselves again, as a supervisor does. Returns a line for each of them."""
        ended = []
        with self._lock:
            for role, processes in self.processes.items():
                for process in [process for process in processes if process.poll() is not None]:
                    processes.remove(process)
                    self._end(process)  # its children
                    ended.append(f"{role} exited with {process.returncode}: {self._last_lines_of(process)}")
                    self.start(role, self._own_commands[process.pid])
        return ended

    def _last_lines_of(self, process: subprocess.Popen[bytes]) -> str:
        lines = self.logs[process.pid].read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-2:])[-300:] or "no output"

    def log_ends(self) -> str:
        """The last output of the processes, for a test that failed."""
        logs = sorted(self.folder.glob("*.log"), key=lambda log: log.stat().st_mtime)
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs[-8:])


def kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for_children(process: subprocess.Popen[bytes], count: int, *, seconds: float = 40) -> None:
    """Wait until a worker has its pool: it is about to consume then."""
    deadline = time.monotonic() + seconds
    while len(children_of(process.pid)) < count:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the worker did not come up: {process.poll()}")
        time.sleep(0.1)
