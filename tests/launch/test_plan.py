import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch.choice import choose
from offline_mbrl.launch.plan import make_plan
from offline_mbrl.launch.preview import preview
from offline_mbrl.launch.task import DEFAULT, Options, Task
from offline_mbrl.storage import records
from offline_mbrl.training.job import Job, make_job
from offline_mbrl.training.saving import CHECKPOINTS
from tests.launch.runs import ENVIRONMENT, job
from tests.training.tiny import TINY_MOPO

DATA: dict[str, Any] = {"source": "synthetic", "size": 300, "steps": 20, "evaluate_every": 10, "episodes": 1}
DATASET = {"name": "hopper-medium@300", "source": "synthetic", "fingerprint": "0" * 64}


def model_based(algorithm: str, seeds: tuple[int, ...] = (0,), task: str = "hopper-medium", **changes: Any) -> Job:
    return make_job(algorithm, task, overrides=TINY_MOPO | changes, seeds=seeds, **DATA)


def by_name(tasks: list[Task]) -> dict[str, Task]:
    return {task.name: task for task in tasks}


def test_systems_on_one_task_share_one_fit_that_they_wait_for(tmp_path: Path) -> None:
    mopo, combo, clone = model_based("mopo"), model_based("combo"), job()
    tasks = by_name(make_plan([clone, mopo, combo], tmp_path, DEFAULT, 1))
    fit = f"fit dynamics for {mopo.name}"
    assert set(tasks) == {fit, mopo.name, combo.name, clone.name}
    assert (tasks[fit].jobs, tasks[fit].fit, tasks[fit].needs) == ((mopo,), "dynamics", frozenset())
    assert tasks[mopo.name].needs == tasks[combo.name].needs == {fit}
    assert tasks[clone.name].needs == frozenset()
    assert next(iter(tasks)) == fit


def test_a_fit_that_one_program_alone_needs_is_left_to_it(tmp_path: Path) -> None:
    apart = [model_based("mopo"), model_based("combo", task="walker2d-medium"), model_based("mopo", (1,))]
    assert [task.fit for task in make_plan(apart, tmp_path, DEFAULT, 1)] == [None, None]


def test_other_settings_of_the_model_are_another_fit(tmp_path: Path) -> None:
    jobs = [model_based("mopo"), model_based("combo", **dict[str, Any]({"dynamics.max_epochs": 3}))]
    assert [task.fit for task in make_plan(jobs, tmp_path, DEFAULT, 1)] == [None, None]


def test_fits_of_one_kind_wait_for_each_other_instead_of_their_lock(tmp_path: Path) -> None:
    jobs = [model_based(algorithm, (seed,)) for algorithm in ("mopo", "combo") for seed in (0, 1)]
    fits = [task for task in make_plan(jobs, tmp_path, Options(lanes=False), 1) if task.fit]
    assert [fit.needs for fit in fits] == [frozenset(), frozenset({fits[0].name})]


def test_jobs_that_have_taken_steps_need_no_fit(tmp_path: Path) -> None:
    jobs = [model_based("mopo"), model_based("combo")]
    (tmp_path / jobs[0].name / CHECKPOINTS / "10").mkdir(parents=True)
    assert [task.fit for task in make_plan(jobs, tmp_path, DEFAULT, 1)] == [None, None]


def test_measured_jobs_set_the_order(tmp_path: Path) -> None:
    quick, slow, done = job(0, steps=1000), job(1, steps=900), job(2)
    clone = make_job("td3_bc", "hopper-medium", overrides={"hidden": (8, 8), "batch_size": 16}, **DATA)
    folder = tmp_path / done.name
    records.write_json(folder / records.JOB, {"id": done.id} | done.model_dump(mode="json"))
    records.write_json(folder / records.ENVIRONMENT, {"dataset": DATASET, "seconds": {"train": 2000.0}})
    records.write_json(folder / records.DONE, {})
    tasks = by_name(make_plan([clone, quick, slow, done], tmp_path, Options(lanes=False), 1))
    assert tasks[quick.name].cost == 20.0 + 1000 * 2000 / 20
    assert [*tasks][:2] == [quick.name, slow.name]


def test_a_plan_touches_no_device() -> None:
    code = (
        "from pathlib import Path\nfrom tests.launch.test_plan import model_based\n"
        "from offline_mbrl.launch.plan import make_plan\nfrom offline_mbrl.launch.task import DEFAULT\n"
        "make_plan([model_based('mopo'), model_based('combo')], Path('nowhere'), DEFAULT, 1)\n"
        "from jax._src import xla_bridge\nassert not xla_bridge.backends_are_initialized()"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_chooses_by_field_with_lists_and_patterns() -> None:
    jobs = [model_based("mopo"), model_based("combo", task="walker2d-medium"), job()]
    assert choose(jobs, []) == jobs
    assert choose(jobs, ["algorithm=mopo,bc"]) == [jobs[0], jobs[2]]
    assert choose(jobs, ["task=hopper-*", "algorithm=mopo"]) == [jobs[0]]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("algorithm", "--only needs FIELD=VALUE, not 'algorithm'"),
        ("algoritm=bc", "unknown field of --only 'algoritm'; did you mean 'algorithm'"),
        ("task=ant-medium", "no job of the suite has task=ant-medium; --dry-run lists them"),
    ],
)
def test_only_says_what_it_does_not_understand(condition: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("*", r"\*")):
        choose([job()], [condition])


def test_a_dry_run_lists_jobs_in_order_with_cost_and_memory_and_makes_no_folder(tmp_path: Path) -> None:
    jobs = [job(), model_based("mopo"), model_based("combo")]
    text = preview(jobs, tmp_path / "out", DEFAULT, 2)
    lines = text.splitlines()
    assert "fit dynamics for mopo-hopper-medium" in lines[2]
    assert all(one.name in text for one in jobs)
    assert lines[-1].startswith("3 jobs in 3 programs, 1 shared fit; about ")
    assert "on 2 slots" in lines[-1]
    assert not (tmp_path / "out").exists()
