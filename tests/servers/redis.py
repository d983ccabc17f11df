"""A private Redis."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.servers.reaper import Reaper
from tests.servers.server import PrivateServer, Unavailable


class PrivateRedis(PrivateServer):
    """Redis from the installed binary; it keeps nothing."""

    name = "redis"

    def __init__(self, folder: Path, reaper: Reaper | None = None) -> None:
        super().__init__(folder, reaper)
        self.binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if self.binary is None:
            raise Unavailable("redis-server is not installed")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.folder}
        return [str(self.binary), *(word for name, value in options.items() for word in (f"--{name}", str(value)))]

    def _is_ready(self) -> bool:
        import redis

        try:
            with redis.Redis.from_url(self.url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
