"""Private servers end in any case, even when the process that started them is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.servers import PrivatePostgres, PrivateServers, Unavailable, free_port, private
from tests.servers.postgres import copy_of_wheel, find_postgres

ROOT = Path(__file__).resolve().parent.parent.parent

#: Once is enough, and one test environment has to be without servers.
pytestmark = [pytest.mark.embedded, pytest.mark.slow]


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    """Otherwise an outgoing connection could get the port while its server is restarted."""
    linux = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(linux.read_text().split()[0]) if linux.exists() else 49_152  # RFC 6335
    ports = {free_port() for _ in range(50)}
    assert len(ports) > 40
    assert max(ports) < first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start(name: str) -> PrivateServers:
    servers = PrivateServers([name])
    servers.__enter__()
    if name in servers.missing:
        servers.stop()
        pytest.skip(servers.missing[name])
    return servers


def test_a_server_starts_again_with_its_data_after_a_kill() -> None:
    import psycopg2

    servers = start("postgres")
    try:
        with psycopg2.connect(servers.urls["postgres"]) as connection:
            connection.cursor().execute("CREATE TABLE kept (x int)")
        connection.close()
        servers.running["postgres"].kill()
        servers.running["postgres"].start()
        connection = psycopg2.connect(servers.urls["postgres"])
        connection.cursor().execute("SELECT * FROM kept")
        connection.close()
    finally:
        servers.stop()
    assert not servers.folder.exists()


def test_the_busy_children_of_a_killed_server_are_killed_too() -> None:
    """PostgreSQL does not start again while one of them is running."""
    import psycopg2

    servers = start("postgres")
    try:
        connection = psycopg2.connect(servers.urls["postgres"])
        busy = threading.Thread(target=_count, args=(connection,))
        busy.start()
        time.sleep(0.5)
        servers.running["postgres"].kill()
        servers.running["postgres"].start()
        psycopg2.connect(servers.urls["postgres"]).close()
        busy.join()
    finally:
        servers.stop()


def _count(connection: Any) -> None:
    import psycopg2

    with contextlib.suppress(psycopg2.OperationalError):
        connection.cursor().execute("DO $$ BEGIN FOR i IN 1..1000000000 LOOP NULL; END LOOP; END $$")


def test_servers_end_with_an_owner_that_is_killed() -> None:
    script = (
        "import time\nfrom tests.servers import PrivateServers\n"
        "with PrivateServers(['redis']) as servers:\n"
        "    print(servers.running['redis'].port, servers.folder, flush=True) if servers.running else print()\n"
        "    time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    answer = owner.stdout.readline().split()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    if not answer:
        pytest.skip("redis-server is not installed")
    deadline = time.monotonic() + 10
    while is_listening(int(answer[0])) or Path(answer[1]).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_cannot_start_is_missing_with_a_reason(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise Unavailable("redis-server is not installed")

    monkeypatch.setitem(private.KINDS, "redis", refuse)
    with PrivateServers(["redis"]) as servers:
        assert servers.urls == {}
        assert servers.missing == {"redis": "redis-server is not installed"}


def test_the_tests_use_no_server_that_they_were_not_given() -> None:
    assert settings.BROKER_URL == ""


def test_binaries_in_a_closed_folder_are_copied_with_their_libraries(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root starts servers as somebody else")
    tmp_path.chmod(0o700)
    with PrivateServers([]) as servers:
        server = PrivatePostgres(servers.folder, servers.reaper)
        server.binaries = copy_of_wheel(find_postgres(), tmp_path / "closed")
        servers.running["postgres"] = server
        server.start()
        assert is_listening(server.port)
        assert server.binaries.is_relative_to(servers.folder)
