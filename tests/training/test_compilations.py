"""Nothing is compiled twice: each program of a run is made once, whatever number of epochs and periods it serves."""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import pytest

from offline_mbrl.algorithms.registry import get_definition, own_names
from offline_mbrl.conformance.small import COMMON, OWN, configure
from offline_mbrl.training.job import Paths, make_job
from offline_mbrl.training.run import run_job

QUICK = {("bc", "default"), ("mopo", "default"), ("mopo", "mixed")}
"""What the shorter tier looks at; the slow one looks at all systems in both precisions."""

CASES = [(name, precision) for precision in ("default", "mixed") for name in own_names()]


def compiled(messages: list[str]) -> Counter[str]:
    """How often jax compiled each function for each tuple of shapes and types, by its log; a weak type is no other.

    Single operations outside of programs, such as `jit(broadcast_in_dim)`, do not count.
    """
    found = (re.match(r"Compiling (jit\((.*)\) .*)\. Argument mapping", message) for message in messages)
    programs = (match.group(1) for match in found if match and not hasattr(jax.lax, match.group(2)))
    return Counter(re.sub(r", weak_type=\w+", "", program) for program in programs)


@pytest.mark.parametrize(
    ("name", "precision"),
    [pytest.param(*case, marks=pytest.mark.medium if case in QUICK else pytest.mark.slow) for case in CASES],
)
def test_a_run_compiles_each_of_its_programs_once(
    name: str, precision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    definition = get_definition(name)
    config: dict[str, Any] = configure(definition, COMMON, OWN.get(name, {})).model_dump()
    if "dynamics" in config:
        config["dynamics"] |= {"max_epochs": 2}
    settings: dict[str, Any] = {"source": "synthetic", "size": 200, "evaluate_every": 20, "episodes": 1}
    job = make_job(name, "hopper-medium", steps=60, overrides=config, precision=precision, **settings)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        assert run_job(job, tmp_path / "run", Paths(cache=tmp_path / "cache")) == []
    times = compiled([record.getMessage() for record in caplog.records])
    assert sum(times[program] for program in times if "advance" in program) == 1
    assert [program for program, count in times.items() if count > 1] == []
