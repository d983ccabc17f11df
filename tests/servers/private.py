"""The private servers of one run: started together, stopped together."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.postgres import PrivatePostgres
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.servers.reaper import Reaper
from tests.servers.redis import PrivateRedis
from tests.servers.server import PrivateServer, Unavailable

KINDS: dict[str, Callable[..., PrivateServer]] = {
    "postgres": PrivatePostgres,
    "rabbitmq": PrivateRabbitMQ,
    "redis": PrivateRedis,
}


class PrivateServers:
    """The wanted servers that are available here: started on entry, stopped on exit, whatever happens between."""

    def __init__(self, wanted: Iterable[str] = tuple(KINDS), *, virtual_hosts: Iterable[str] = ()) -> None:
        """`virtual_hosts` are those of RabbitMQ beside its default one."""
        self.wanted = tuple(wanted)
        self.options: dict[str, dict[str, Any]] = {"rabbitmq": {"virtual_hosts": virtual_hosts}}
        self.running: dict[str, PrivateServer] = {}
        self.missing: dict[str, str] = {}
        self.folder = Path()
        self.reaper: Reaper

    @property
    def urls(self) -> dict[str, str]:
        return {name: server.url for name, server in self.running.items()}

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="campusg-servers-"))
        self.folder.chmod(0o755)  # the unprivileged user must be able to enter it
        self.reaper = Reaper(self.folder)
        try:
            for name in self.wanted:
                self._start(name)
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, name: str) -> None:
        try:
            server = KINDS[name](self.folder, self.reaper, **self.options.get(name, {}))
            self.running[name] = server
            server.start()
        except Unavailable as reason:
            self.running.pop(name, None)
            self.missing[name] = str(reason)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.reaper.close)  # last: it removes the folder
            for server in self.running.values():
                stack.callback(server.stop)
        self.running = {}
