"""Logs: one line an event, for eyes (`console`) or for machines (`json`), with the `extra` of every record."""

from __future__ import annotations

from typing import Any

import structlog

from payments.cards import redact


def config(*, level: str, style: str) -> dict[str, Any]:
    """A `logging.config.dictConfig` for the whole process."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _without_request_starts,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    quiet = {"level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"default": {"()": structlog.stdlib.ProcessorFormatter, **_formatter(style)}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "default"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "celery": quiet,
            "kombu": quiet,
            "amqp": quiet,
            "uvicorn": {"level": "WARNING", "propagate": True},
            # One line a request is for machines; eyes want to see what went wrong, and that once.
            "django_structlog": quiet if style == "console" else {},
            "django.request": {"level": "ERROR"},
            "django_celery_beat": quiet,
        },
    }


def _without_request_starts(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """One line a request is enough, and the one at its end says more."""
    if event.get("event") == "request_started":
        raise structlog.DropEvent
    return event


def _shared() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_card_numbers,
    ]


def _without_card_numbers(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The last fence: what looks like a card number is masked, wherever in a record it stands."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = redact(value)
    return event


def _formatter(style: str) -> dict[str, Any]:
    """Tracebacks without local variables: those may hold tokens and addresses."""
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    last: list[Any] = (
        [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
        if style == "json"
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    return {
        "foreign_pre_chain": _shared(),
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    }
