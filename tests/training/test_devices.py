"""Lanes on several devices of one host: divided evenly, without a word between the devices, with equal results."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from offline_mbrl.storage import records
from offline_mbrl.training.devices import make_layout
from offline_mbrl.training.job import Job, Paths, claim, make_job
from offline_mbrl.training.run import run_job
from tests.training.tiny import TINY_MOPO

DEVICES = 4
COLLECTIVE = re.compile(r"(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast)")


@pytest.mark.parametrize(
    ("lanes", "expected"), [([16], 4), ([6], 3), ([7], 1), ([2], 2), ([4, 4], 4), ([6, 6], 3), ([4, 3], 1)]
)
def test_as_many_devices_are_used_as_divide_the_lanes_of_every_part(lanes: list[int], expected: int) -> None:
    assert len(make_layout(lanes, jax.devices()[:1] * DEVICES).devices) == expected


def test_one_device_leaves_everything_where_it_is() -> None:
    tree = {"a": jax.numpy.ones(3)}
    assert make_layout([3], jax.devices()[:1]).lanes(tree) is tree


def make(task: str) -> Job:
    settings: dict[str, Any] = {"source": "synthetic", "size": 200, "evaluate_every": 20, "episodes": 1, "steps": 40}
    return make_job("mopo", task, seeds=(0, 1), overrides=TINY_MOPO | {"horizon": 2}, **settings)


@pytest.mark.medium
def test_lanes_of_two_tasks_on_four_devices_say_nothing_to_each_other_and_find_the_same(tmp_path: Path) -> None:
    first, second, alone = (tmp_path / name for name in ("first", "second", "alone"))
    for folder, task in ((first, "hopper-medium"), (second, "hopper-random")):
        claim(folder, make(task))
    dump = tmp_path / "hlo"
    flags = f"--xla_force_host_platform_device_count={DEVICES} --xla_dump_to={dump} --xla_dump_hlo_as_text"
    environment = os.environ | {
        "XLA_FLAGS": f"{flags} --xla_dump_hlo_module_re=.*advance.*",
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # what is read from it is not written out
    }
    command = [sys.executable, "-m", "offline_mbrl.launch.worker", str(first), str(second)]
    command += ["--cache-dir", str(tmp_path / "cache")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "mopo hopper, 2 jobs on 2 tasks, 4 of 4 devices" in run.stderr
    (program,) = dump.glob("*advance*after_optimizations.txt")  # one, for all periods
    text = program.read_text()
    assert f"num_partitions={DEVICES}" in text
    assert COLLECTIVE.findall(text) == []
    run_job(make("hopper-random"), alone, Paths(cache=tmp_path / "cache"))
    ours, theirs = (records.read_records(folder / records.METRICS) for folder in (second, alone))
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=1e-4)


def test_what_devices_say_to_each_other_is_found() -> None:
    assert COLLECTIVE.findall("%x.1 = f32[8]{0} all-reduce(f32[8]{0} %x), replica_groups={{0,1}}") == ["all-reduce"]
