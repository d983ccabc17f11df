"""A worker's mark appears when it can do its work and be stopped without an accident, and not before."""

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
    """The path that is touched, with nobody else listening to Celery's signals."""
    heard = (signals.worker_ready, signals.heartbeat_sent, signals.beat_init, signals.after_task_publish)
    patches = [mock.patch.object(signal, "receivers", []) for signal in heard]
    for patch in patches:
        patch.start()
    heartbeat.connect(tmp_path / "mark")
    yield tmp_path / "mark"
    for patch in patches:
        patch.stop()


def test_a_worker_that_is_online_is_not_yet_up(mark: Path) -> None:
    """Celery sends the first heartbeat while the worker still starts; stopped there, it ends with a traceback."""
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


def test_a_worker_whose_loop_was_begun_anew_is_up_at_its_next_heartbeat(mark: Path) -> None:
    """A connection that breaks right then makes the loop forget what it was asked to do soon."""
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
