"""A worker's mark appears when the worker is ready for work and can be stopped without an error, and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from celery import signals

from campusg.launch import heartbeat

pytestmark = pytest.mark.embedded


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """The path of the mark. Celery's signals have no other receivers."""
    used = (signals.worker_ready, signals.heartbeat_sent, signals.beat_init, signals.after_task_publish)
    patches = [mock.patch.object(signal, "receivers", []) for signal in used]
    for patch in patches:
        patch.start()
    heartbeat.connect(tmp_path / "mark")
    yield tmp_path / "mark"
    for patch in patches:
        patch.stop()


def test_a_worker_that_is_online_is_not_yet_up(mark: Path) -> None:
    """Celery sends the first heartbeat during the start of the worker. Stopped then, it ends with a traceback."""
    soon: list[Callable[[], None]] = []
    worker = mock.Mock(hub=mock.Mock(call_soon=soon.append))
    signals.heartbeat_sent.send(sender=None)
    signals.worker_ready.send(sender=worker)
    assert not mark.exists()
    for callback in soon:
        callback()
    assert mark.exists()
    mark.unlink()
    signals.heartbeat_sent.send(sender=None)
    assert mark.exists()


def test_a_worker_whose_loop_was_restarted_is_up_at_its_next_heartbeat(mark: Path) -> None:
    """If a connection breaks at that moment, the new loop does not have the scheduled call."""
    signals.worker_ready.send(sender=mock.Mock())
    signals.heartbeat_sent.send(sender=None)
    assert mark.exists()


def test_a_worker_without_an_event_loop_is_up_when_it_is_ready(mark: Path) -> None:
    signals.worker_ready.send(sender=mock.Mock(hub=None))
    assert mark.exists()


def test_beat_is_up_when_it_starts_and_alive_when_it_publishes(mark: Path) -> None:
    signals.beat_init.send(sender=None)
    assert heartbeat.age_seconds(mark) < heartbeat.OLDEST_SECONDS
    mark.unlink()
    signals.after_task_publish.send(sender="sagas.sweep")
    assert mark.exists()
