"""The app of all processes of the soak. It selects the release, and sagas or the plain chain."""

from __future__ import annotations

import os

from django.apps import AppConfig

FIRST_RELEASE, SECOND_RELEASE = "1", "2"


class Soak(AppConfig):
    name = "benchmarks.soak"
    label = "soak"

    def ready(self) -> None:
        if os.environ.get("SOAK_RELEASE") == SECOND_RELEASE:
            from benchmarks.soak import release

            release.roll_out()
        if os.environ.get("SOAK_PLAIN"):
            from benchmarks.soak.plain import use_cases

            use_cases.replace()
