"""Several runs side by side in a Markdown table, from the files that `--json` wrote.

python -m benchmarks.soak.compare seed1.json seed2.json plain.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

#: What the oracle's rules mean for a customer. All other rules are counted as "anything else wrong".
LOST = ("order lost", "neither finished nor waiting", "saga not finished", "order not at rest")
TWICE = ("done twice", "authorized twice", "one key, two orders", "won twice", "both won")
WRONG = ("unexpected outcome", "undone wrongly", "completed with steps left out")
HOLDS = ("leaked authorization",)
ESCROW = ("leaked escrow",)
STOCK = ("leaked reservation", "stock does not add up")
OUTCOMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "lost: never finished": (LOST, ("lost (never finished)",)),
    "wrong end": (WRONG, ("wrong end (failed though nothing was wrong)",)),
    "with a step done twice": (TWICE, ("orders with a step executed twice", "authorized twice")),
    "with a hold left on the card": (HOLDS, ("leaked holds (provider)", "holds of orders that never finish")),
    "with money left in escrow": (ESCROW, ("leaked escrow",)),
    "with food kept": (STOCK, ("leaked stock",)),
}
PLAIN = "the plain chain"


def column(run: dict[str, Any]) -> dict[str, object]:
    """The figures of one run by name: a column of the table."""
    figures = run["figures"]
    rows: dict[str, object] = {
        "orders asked for": figures["run"]["orders"],
        "seconds until the last order": figures["run"]["seconds of ordering"],
        **{quota["name"]: quota["count"] for quota in run["quotas"]},
        "orders promised to customers": figures["answers"]["place: 202"],
    }
    rules = Counter(breach.split(":", 1)[0] for breach in run["breaches"])
    plain = figures.get(PLAIN, {})
    for name, (ours, theirs) in OUTCOMES.items():
        rows[name] = max(plain[one] for one in theirs) if plain else sum(rules[rule] for rule in ours)
    known = {rule for ours, _ in OUTCOMES.values() for rule in ours}
    rows["anything else wrong"] = "not judged" if plain else sum(rules[rule] for rule in rules.keys() - known)
    rows["seconds from the last fault to rest"] = (
        "never" if plain else figures["run"]["seconds from the last fault until all was at rest"]
    )
    return rows


def title(run: dict[str, Any]) -> str:
    kind = "plain chain" if PLAIN in run["figures"] else "sagas"
    return f"{kind}, seed {run['figures']['run']['seed']}"


def table(runs: list[dict[str, Any]]) -> str:
    columns = [column(run) for run in runs]
    rows = [["", *map(title, runs)], ["---", *["---:"] * len(runs)]]
    rows += [[name, *(f"{one[name]:,}" if isinstance(one[name], int) else str(one[name]) for one in columns)]
             for name in columns[0]]  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table([json.loads(Path(name).read_text()) for name in sys.argv[1:]]))
