"""Beat's schedule in the database, with an end that is safe at any moment."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from django_celery_beat.schedulers import DatabaseScheduler


class Scheduler(DatabaseScheduler):  # type: ignore[misc]
    """Ends by leaving its loop when it receives a stop signal.

    Celery's own handler saves the schedule inside the signal handler, on the connection whose statement it may have
    interrupted: beat then logs errors of a closed connection, or never ends. The service saves on its way out anyway.
    """

    def setup_schedule(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _end)
        super().setup_schedule()


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
