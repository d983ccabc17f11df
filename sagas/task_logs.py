"""Celery logs every run of every task at INFO. For tasks that run each second, and mostly find nothing, that is noise.

The engine's periodic tasks are therefore logged at DEBUG: a filter on three of Celery's loggers lowers the level of
these records and of no others. Handlers, formatters and levels stay as the project set them, and with a level of DEBUG
every line is there. What goes wrong in one of these tasks is logged as ever.
"""

from __future__ import annotations

import logging

PERIODIC_TASKS = ("sagas.sweep", "sagas.relay")
#: "received", "succeeded in …", and beat's "Sending due task …".
LOGGERS = ("celery.worker.strategy", "celery.app.trace", "celery.beat")


class PeriodicTasksAtDebug(logging.Filter):
    """Lowers INFO to DEBUG for the engine's periodic tasks. A logger's filter sees the records of that logger only."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.INFO or _task_of(record) not in PERIODIC_TASKS:
            return True
        record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


def quieten_periodic_tasks() -> None:
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, PeriodicTasksAtDebug) for known in logger.filters):
            logger.addFilter(PeriodicTasksAtDebug())


def _task_of(record: logging.LogRecord) -> str:
    """The task a record is about, empty if it is about none.

    A worker's records carry `data`, the values of the line by name; beat's have the arguments (entry, task).
    """
    data = getattr(record, "data", None)
    if isinstance(data, dict):
        return str(data.get("name", ""))
    arguments = record.args if isinstance(record.args, tuple) else ()
    return str(arguments[1]) if record.name == "celery.beat" and len(arguments) == 2 else ""
