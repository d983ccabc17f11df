"""A private RabbitMQ."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.servers.reaper import Reaper
from tests.servers.server import PrivateServer, Unavailable, free_port

#: Its name and its password.
USER = "guest"
#: Where packages put what is not meant for a shell's PATH.
RABBITMQ_GLOBS = ("lib/rabbitmq/bin", "lib/rabbitmq/lib/*/sbin", "opt/rabbitmq/sbin")
PREFIXES = ("/usr", "/usr/local", "/opt/homebrew", "/opt")


class PrivateRabbitMQ(PrivateServer):
    """RabbitMQ from the installed binary, with a node name, a cookie and a port mapper (epmd) of its own."""

    name = "rabbitmq"

    def __init__(self, folder: Path, reaper: Reaper | None = None, *, virtual_hosts: Iterable[str] = ()) -> None:
        super().__init__(folder, reaper)
        self.virtual_hosts = tuple(virtual_hosts)
        self.distribution_port = free_port()
        self.mapper_port = free_port()
        self.binary = find_rabbitmq()
        # The port mapper outlives its node. This one serves no other node, because of its port.
        if reaper is not None and (epmd := find_epmd()):
            reaper.afterwards([epmd, "-port", str(self.mapper_port), "-kill"])

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{USER}@127.0.0.1:{self.port}//"

    @property
    def node(self) -> str:
        return f"campusg{self.port}@localhost"

    def _prepare(self) -> None:
        definitions = self.folder / "definitions.json"
        definitions.write_text(json.dumps(self._definitions()))
        options = (
            "disk_free_limit.absolute = 50MB",
            "log.console.level = warning",
            f"load_definitions = {definitions}",
        )
        (self.folder / "rabbitmq.conf").write_text("\n".join([*options, ""]))
        (self.folder / "enabled_plugins").write_text("[].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(os.urandom(16).hex())
        cookie.chmod(0o400)

    def _definitions(self) -> dict[str, list[dict[str, str]]]:
        """The user and the virtual hosts, as RabbitMQ imports them at its first start."""
        hosts = ["/", *self.virtual_hosts]
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        return {
            "users": [{"name": USER, "password_hash": password_hash(USER), "tags": "administrator"}],
            "vhosts": [{"name": host} for host in hosts],
            "permissions": [{"user": USER, "vhost": host, **everything} for host in hosts],
        }

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return inherited | {
            "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.mapper_port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # Idle schedulers must not spin, and the node must listen on loopback only.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def _command(self) -> list[str]:
        return [str(self.binary)]

    def _is_ready(self) -> bool:
        from kombu import Connection
        from kombu.exceptions import OperationalError

        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        except (OperationalError, OSError):
            return False
        return True

    def control(self, *arguments: str) -> str:
        """`rabbitmqctl` against this node, for fault injection."""
        command = [str(self.binary.parent / "rabbitmqctl"), "-n", self.node, *arguments]
        done = subprocess.run(command, env=self._environment(), capture_output=True, check=True, text=True)
        return done.stdout


def password_hash(password: str) -> str:
    """As RabbitMQ stores it: base64 of a salt of four bytes and SHA-256 of salt and password."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def find_rabbitmq() -> Path:
    """The real server script. The one on PATH may be a wrapper that only a system user may call, so it comes last."""
    for prefix in PREFIXES:
        for pattern in RABBITMQ_GLOBS:
            for folder in sorted(Path(prefix).glob(pattern), reverse=True):
                if os.access(folder / "rabbitmq-server", os.X_OK):
                    return folder / "rabbitmq-server"
    if on_path := shutil.which("rabbitmq-server"):
        return Path(on_path)
    raise Unavailable("rabbitmq-server is not installed")


def find_epmd() -> str | None:
    bundled = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    return shutil.which("epmd") or (str(bundled[-1]) if bundled else None)
