"""Changes the definitions in the processes of chaos tests: shorter timeouts of calls, and steps with faults."""

from __future__ import annotations

import dataclasses
import os
from datetime import timedelta

from django.apps import AppConfig

from tests.harness import step_faults

#: Short, so that the call of a killed worker is taken over after seconds and not after half a minute.
CALL_TIMEOUT = timedelta(seconds=float(os.environ.get("CHAOS_CALL_TIMEOUT_SECONDS", "4")))


class Chaos(AppConfig):
    name = "tests.harness"
    label = "chaos"

    def ready(self) -> None:
        from sagas import tasks
        from sagas.definition import registry
        from tests.harness.parcels import RELEASES

        registry.register(*RELEASES[os.environ.get("CHAOS_RELEASE", "old")])
        tasks.register_step_tasks()
        for saga in registry.all_definitions():
            saga.steps = [self._changed(step) for step in saga.steps]

    def _changed(self, step: object) -> object:
        from sagas.definition.saga import Step

        assert isinstance(step, Step)
        undo = step.compensation
        return dataclasses.replace(
            step,
            function=step_faults.with_faults(step.function),
            compensation=undo and dataclasses.replace(undo, function=step_faults.with_faults(undo.function)),
            timeout=min(step.timeout, CALL_TIMEOUT) if step.is_remote else step.timeout,
        )
