"""A record of behavior coverage as a table."""

from collections.abc import Mapping
from typing import Any

from offline_mbrl.model_error.table import Lines


def coverage_table(record: Mapping[str, Any]) -> Lines:
    """A line for the data, for uniform actions, and two for each seed's policy."""
    head = ["pairs", "median distance", "90 % quantile", "outside", "score"]
    lines = [_line("data", record["data"]), _line("random actions in data states", record["random"])]
    for one in record["seeds"]:
        lines.append(_line(f"seed {one['seed']} in data states", one["in data states"]))
        lines.append(_line(f"seed {one['seed']} in its own states", one["in own states"], f"{one['score']:.1f}"))
    return head, lines


def _line(name: str, found: Mapping[str, Any], score: str = "") -> list[str]:
    quantiles = found["quantiles"]
    return [name, f"{quantiles['0.5']:.3f}", f"{quantiles['0.9']:.3f}", f"{found['outside']:.0%}", score]
