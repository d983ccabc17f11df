"""The product's settings, with the saga of the benchmark."""

from __future__ import annotations

from campusg.settings import *  # noqa: F403 - the usual way to extend a settings module
from campusg.settings import INSTALLED_APPS as PRODUCT_APPS

INSTALLED_APPS = [*PRODUCT_APPS, "benchmarks.order5"]
