"""The result of a run as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak.quotas import Quota

SHOWN_BREACHES = 40


@dataclass
class Report:
    """Figures by section, in the order in which they are printed."""

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    quotas: list[Quota] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    #: The histories of the first orders and sagas with a breach.
    histories: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.breaches and all(quota.is_met for quota in self.quotas)

    def add(self, section: str, figures: dict[str, Any]) -> None:
        self.sections.setdefault(section, {}).update(figures)

    def table(self) -> str:
        lines = []
        for section, figures in self.sections.items():
            lines += ["", section, *(f"  {name:<44} {value!s:>10}" for name, value in figures.items())]
        lines += ["", "required"]
        for quota in self.quotas:
            verdict = "" if quota.is_met else "  NOT MET"
            lines.append(f"  {quota.name:<44} {quota.count:>10}  (at least {quota.least}){verdict}")
        rules = Counter(breach.split(":", 1)[0] for breach in self.breaches)
        lines += ["", f"breaches {len(self.breaches)}", *(f"  {rule:<44} {count:>10}" for rule, count in rules.items())]
        return "\n".join([*lines, *self.breaches[:SHOWN_BREACHES], *self.histories])

    def write(self, path: Path) -> None:
        content = {
            "figures": self.sections, "quotas": [asdict(quota) for quota in self.quotas], "breaches": self.breaches,
            "histories": self.histories,
            "is_good": self.is_good,
        }  # fmt: skip
        path.write_text(json.dumps(content, indent=2, default=str) + "\n")
