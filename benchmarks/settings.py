"""The product's own settings, with the benchmark's saga added."""

from __future__ import annotations

from campusg.settings import *  # noqa: F403 - a settings module is the one place where this is how it is done
from campusg.settings import INSTALLED_APPS as PRODUCT_APPS

INSTALLED_APPS = [*PRODUCT_APPS, "benchmarks.order5"]
