"""What `manage.py test` says and answers."""

from __future__ import annotations

from collections import Counter

import pytest

from tests import environments
from tests.environments import Lane


def lane(name: str, exit_code: int = 0, **counts: int) -> Lane:
    return Lane(name, counts=Counter(counts), exit_code=exit_code)


def test_the_last_line_adds_the_lanes_up(capsys) -> None:
    assert environments.conclude([lane("embedded", passed=3, failed=0), lane("servers", passed=4, failed=0)], []) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "7 passed, 0 failed"


def test_skipped_tests_are_told(capsys) -> None:
    environments.conclude([lane("embedded", passed=3, skipped=2)], [])
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 0 failed, 2 skipped"


def test_one_failure_anywhere_fails() -> None:
    assert (
        environments.conclude([lane("embedded", passed=3), lane("servers", exit_code=1, passed=3, failed=1)], []) == 1
    )


def test_a_missing_server_fails_where_it_is_required(capsys) -> None:
    assert environments.conclude([lane("embedded", passed=3)], ["redis: redis-server is not installed"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 1 failed"


def test_a_selection_that_is_empty_in_one_lane_is_fine() -> None:
    assert environments.conclude([lane("embedded", exit_code=5), lane("servers", passed=1)], []) == 0


def test_a_selection_that_is_empty_everywhere_is_not() -> None:
    assert (
        environments.conclude([lane("embedded", exit_code=5), lane("servers", exit_code=5)], [])
        == environments.NOTHING_COLLECTED
    )


@pytest.mark.parametrize("name", ["DATABASE_URL", "BROKER_URL", "REDIS_URL", "STRIPE_API_KEY", "CAMPUSG_HTTPS"])
def test_the_settings_of_a_running_installation_do_not_leak_into_tests(name: str, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(name, "production")
    assert Lane("embedded").environment(tmp_path / "report.json").get(name) != "production"


def test_a_lane_tells_the_settings_where_its_servers_are(tmp_path) -> None:
    urls = {"postgres": "postgres://x", "redis": "redis://y"}
    environment = Lane("servers", urls=urls).environment(tmp_path / "report.json")
    assert (environment["DATABASE_URL"], environment["REDIS_URL"]) == ("postgres://x", "redis://y")
