"""The engine's options as this process has them: `settings.SAGAS` over the defaults."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from sagas.definition.options import Options

__all__ = ["Options", "options"]


@lru_cache(maxsize=1)
def options() -> Options:
    """Raises `TypeError` if `settings.SAGAS` has a key that is no option."""
    configured: dict[str, Any] = getattr(settings, "SAGAS", {})
    return Options(**{name.lower(): value for name, value in configured.items()})


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "SAGAS":
        options.cache_clear()


setting_changed.connect(_forget)
