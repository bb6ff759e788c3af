from dataclasses import replace

import numpy as np
import pytest
from sweep_simulation import RESTART_SECONDS, SAVE_SECONDS, with_failures, with_storage

from offline_mbrl.launch.task import Task
from tests.launch.runs import job


def test_a_failure_costs_half_a_checkpoint_interval_and_a_restart_on_average() -> None:
    task = Task("long", (), cost=86_400.0 * 1000)
    (longer,) = with_failures([task], 2.0, np.random.default_rng(0))
    assert (longer.cost - task.cost) / 2000 == pytest.approx(SAVE_SECONDS / 2 + RESTART_SECONDS, rel=0.1)
    assert with_failures([task], 0.0, np.random.default_rng(0)) == [task]


def test_a_storage_that_takes_longer_than_the_time_between_checkpoints_slows_the_work() -> None:
    task = Task("saves", (job(seeds=(0, 1)),), cost=10.0)  # twice 3000 bytes every 60 s: 100 a second
    assert [one.cost for one in with_storage([task], {"bc": 3000}, 100.0)] == [10.0]
    assert [one.cost for one in with_storage([task], {"bc": 3000}, 25.0)] == [40.0]
    assert with_storage([replace(task, fit="dynamics")], {"bc": 3000}, 1.0)[0].cost == 10.0
