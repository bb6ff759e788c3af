from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch.suite import jobs, read_suite

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
