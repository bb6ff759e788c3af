import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch import cost, plan
from offline_mbrl.launch.choice import choose
from offline_mbrl.launch.plan import make_plan
from offline_mbrl.launch.preview import preview
from offline_mbrl.launch.task import DEFAULT, Options, Task
from offline_mbrl.storage import records
from offline_mbrl.tasks import TASKS
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


HOPPERS = [f"hopper-{level}" for level in ("random", "medium", "medium-replay", "medium-expert")]


def programs(jobs: list[Job], slots: int, out: Path, accelerated: bool = True) -> list[int]:
    """How many jobs each program has, in the order of the jobs."""
    tasks = make_plan(jobs, out, Options(accelerated=accelerated), slots)
    return [len(task.jobs) for task in sorted(tasks, key=lambda task: jobs.index(task.jobs[0])) if not task.fit]


def full(algorithm: str, task: str, **settings: Any) -> Job:
    """A job of full size and 4 seeds, a million steps long."""
    long: dict[str, Any] = {"steps": 1_000_000, "seeds": (0, 1, 2, 3)}
    return make_job(algorithm, task, **long | settings)


def test_a_robots_tasks_are_one_program_as_long_as_no_slot_is_idle(tmp_path: Path) -> None:
    """Sixteen lanes take an H200 2.4 times as long as four, so that four slots are better used by four programs."""
    jobs = [full("td3_bc", task) for task in HOPPERS]
    assert programs(jobs, 1, tmp_path) == [4]
    assert programs(jobs, 2, tmp_path) == [2, 2]
    assert programs(jobs, 4, tmp_path) == [1, 1, 1, 1]
    assert programs(jobs, 256, tmp_path) == [1, 1, 1, 1]
    table = [full("td3_bc", task) for task in TASKS]
    assert programs(table, 1, tmp_path) == programs(table, 3, tmp_path) == [4, 4, 4]


def test_on_cores_a_program_has_one_task(tmp_path: Path) -> None:
    jobs = [full("td3_bc", task, seeds=(seed,)) for task in HOPPERS for seed in (0, 1)]
    assert programs(jobs, 1, tmp_path, accelerated=False) == [2, 2, 2, 2]


def test_a_program_of_several_tasks_needs_no_more_memory_than_its_slot_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 lanes of MOPO on 4 x 1M rows are 0.8 + 4 x 0.172 + 16 x 0.65 = 11.9 GB, as `cost.memory` counts them."""
    jobs = [full("mopo", task, size=1_000_000, overrides={"horizon": 5}) for task in HOPPERS]
    assert cost.memory(jobs, fits=True) == pytest.approx(11.888e9)
    assert cost.memory([*jobs, full("mopo", HOPPERS[0], size=1_000_000, seeds=(7,))], fits=True) == pytest.approx(
        11.888e9 + 0.65e9
    )
    for memory, expected in ((12e9, [4]), (11e9, [2, 2]), (1e9, [1, 1, 1, 1])):
        monkeypatch.setattr(plan, "total_memory", lambda memory=memory: memory)
        assert programs(jobs, 1, tmp_path) == expected


def test_what_is_measured_or_done_leaves_the_programs_as_they_were(tmp_path: Path) -> None:
    jobs = [full("td3_bc", task) for task in HOPPERS]
    folder = tmp_path / jobs[0].name
    records.write_json(folder / records.JOB, {"id": jobs[0].id} | jobs[0].model_dump(mode="json"))
    records.write_json(folder / records.ENVIRONMENT, {"dataset": DATASET, "seconds": {"train": 1e9}})
    records.write_json(folder / records.DONE, {})
    assert programs(jobs, 2, tmp_path) == [2, 2]


def test_the_longest_programs_are_divided_first(tmp_path: Path) -> None:
    jobs = [full(algorithm, task) for algorithm in ("edac", "td3_bc") for task in HOPPERS]
    assert programs(jobs, 4, tmp_path) == [1, 1, 1, 1, 4]


def test_a_rate_between_two_measured_ones_is_read_by_the_logarithm_of_the_lanes() -> None:
    assert cost.rate({1: 100.0, 4: 300.0}, 2) == 200.0
    assert cost.rate({1: 100.0, 4: 300.0}, 16) == 300.0


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
