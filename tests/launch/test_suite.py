from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from offline_mbrl.algorithms.registry import own_names, register, unregister
from offline_mbrl.algorithms.systems import bc
from offline_mbrl.errors import UserError
from offline_mbrl.launch.suite import at_scale, jobs, plan, read_suite, scales
from offline_mbrl.tasks import TASKS

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

GRID = """
tasks = ["hopper-medium", "walker2d-medium"]
source = "synthetic"
size = 1000
seeds = 5
seeds_per_job = 2
steps = 100
evaluate_every = 50

[[run]]
algorithm = "bc"

[[run]]
algorithm = "mopo"
tasks = ["hopper-medium"]
steps = 200
set = { penalty_weight = 2, "dynamics.max_epochs" = 3 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "suite.toml"
    path.write_text(text)
    return path


def test_the_grid_is_runs_by_tasks_by_blocks_of_seeds(tmp_path: Path) -> None:
    made, blocks = jobs(read_suite(write(tmp_path, GRID))), ((0, 1), (2, 3), (4,))
    assert [(job.algorithm, job.task, job.seeds, job.steps) for job in made] == [
        *(("bc", task, seeds, 100) for task in ("hopper-medium", "walker2d-medium") for seeds in blocks),
        *(("mopo", "hopper-medium", seeds, 200) for seeds in blocks),
    ]
    assert made[-1].config["penalty_weight"] == 2.0
    assert made[-1].config["dynamics"]["max_epochs"] == 3
    assert len({job.id for job in made}) == len(made)


def test_common_settings_reach_the_runs_that_have_them_and_yield_to_their_own(tmp_path: Path) -> None:
    """MOPO has a horizon and cloning has none; the run's own `dynamics.max_epochs` goes before the suite's."""
    common = 'horizon = 7\nbatch_size = 32\n"dynamics.max_epochs" = 9\n"dynamics.patience" = 2\n'
    text = GRID.replace("[[run]]", f"[set]\n{common}\n[[run]]", 1)
    made = jobs(read_suite(write(tmp_path, text)))
    assert {job.config["batch_size"] for job in made} == {32}
    assert "horizon" not in made[0].config
    assert made[-1].config["horizon"] == 7
    assert (made[-1].config["dynamics"]["max_epochs"], made[-1].config["dynamics"]["patience"]) == (3, 2)


def test_a_common_setting_that_nobody_has_is_named(tmp_path: Path) -> None:
    text = GRID.replace("[[run]]", "[set]\nhorizn = 7\n\n[[run]]", 1)
    with pytest.raises(UserError, match="no algorithm of the suite has the setting 'horizn'"):
        jobs(read_suite(write(tmp_path, text)))


def test_published_scores_are_found_beside_the_suite(tmp_path: Path) -> None:
    path = write(tmp_path, 'published = "scores.csv"\n' + GRID)
    with pytest.raises(UserError, match=r"published scores at .*scores.csv, where no file is"):
        read_suite(path)
    (tmp_path / "scores.csv").touch()
    assert read_suite(path).published == tmp_path / "scores.csv"


SCALED = (
    GRID
    + """
grid = { horizon = [1, 5] }

[scale.small]
tasks = ["hopper-medium"]
seeds = 1
steps = 50

[scale.small.set]
batch_size = 8
penalty_weight = 0.5

[scale.small.grid]
horizon = [2]
"""
)


def test_a_scale_goes_before_the_suite_and_its_runs(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, SCALED))
    assert scales(suite) == ["small", "full"]
    bc, mopo = jobs(at_scale(suite, "small"))
    assert (bc.task, bc.seeds, bc.steps, bc.config["batch_size"]) == ("hopper-medium", (0,), 50, 8)
    assert "penalty_weight" not in bc.config
    assert (mopo.steps, mopo.config["penalty_weight"], mopo.config["horizon"]) == (50, 0.5, 2)
    assert mopo.config["dynamics"]["max_epochs"] == 3  # what the scale does not name stays the run's
    assert jobs(at_scale(suite, "full")) == jobs(at_scale(suite, None)) == jobs(suite)


def test_a_run_keeps_of_its_tasks_those_of_the_scale_and_is_left_out_without_one(tmp_path: Path) -> None:
    text = SCALED.replace('[scale.small]\ntasks = ["hopper-medium"]', '[scale.small]\ntasks = ["walker2d-medium"]')
    assert [job.algorithm for job in jobs(at_scale(read_suite(write(tmp_path, text)), "small"))] == ["bc"]


def test_a_scale_that_is_not_there_and_a_setting_nobody_has_are_named(tmp_path: Path) -> None:
    suite = read_suite(write(tmp_path, SCALED))
    with pytest.raises(UserError, match="unknown scale 'smal'; did you mean 'small'"):
        at_scale(suite, "smal")
    with pytest.raises(UserError, match="one size; leave --scale small out"):
        at_scale(read_suite(write(tmp_path, GRID)), "small")
    wrong = read_suite(write(tmp_path, SCALED.replace("batch_size = 8", "bach_size = 8")))
    with pytest.raises(UserError, match=r"setting 'bach_size'; correct it or take it out of \[scale.small.set\]"):
        at_scale(wrong, "small")


def test_a_row_is_called_by_its_name_and_what_its_grid_chose(tmp_path: Path) -> None:
    text = SCALED.replace('algorithm = "mopo"', 'algorithm = "mopo"\nname = "ours"')
    variants = {planned.variant for planned in plan(read_suite(write(tmp_path, text)))}
    assert variants == {"bc", "ours, horizon=1", "ours, horizon=5"}


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_suites_are_sound(path: Path) -> None:
    assert jobs(read_suite(path))


def test_anchors_cover_every_system_of_the_package_on_every_task() -> None:
    made = jobs(read_suite(EXPERIMENTS / "anchors.toml"))
    assert {(job.algorithm, job.task) for job in made} >= set(product(own_names(), TASKS))


@pytest.fixture
def trial() -> Iterator[str]:
    yield register(replace(bc.DEFINITION, name="trial")).name
    unregister("trial")


@pytest.mark.parametrize("suite", ["anchors", "check"])
def test_a_sixteenth_system_is_in_the_shipped_suites_of_all_systems(trial: str, suite: str) -> None:
    plan = read_suite(EXPERIMENTS / f"{suite}.toml")
    assert {job.task for job in jobs(plan) if job.algorithm == trial} == set(plan.tasks)


def test_a_star_is_a_row_of_every_system_that_no_other_row_names(trial: str, tmp_path: Path) -> None:
    text = GRID.replace('"bc"', '"*"').replace('"mopo"', '"MOPO"')
    made = jobs(read_suite(write(tmp_path, text)))
    assert [job.algorithm for job in made if job.seeds == (4,) and job.task == "walker2d-medium"] == sorted(
        {*own_names(), trial} - {"mopo"}
    )
    assert {job.task for job in made if job.algorithm == "mopo"} == {"hopper-medium"}


def test_ids_are_the_same_every_time(tmp_path: Path) -> None:
    path = write(tmp_path, GRID)
    assert [job.id for job in jobs(read_suite(path))] == [job.id for job in jobs(read_suite(path))]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hopper-medium", "hoper-medium", "did you mean 'hopper-medium'"),
        ('"bc"', '"bcc"', "unknown algorithm 'bcc'; did you mean 'bc'"),
        ("seeds = 5", "seeds = 0", "seeds=0: input should be greater than or equal to 1"),
        ("seeds_per_job", "seds_per_job", "extra inputs are not permitted"),
        ("tasks = [", "tasks = ", "is not valid TOML"),
        ("penalty_weight", "penalty_wait", "did you mean 'penalty_weight'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        jobs(read_suite(write(tmp_path, GRID.replace(old, new))))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the suite .*none.toml: no such file"):
        read_suite(tmp_path / "none.toml")
