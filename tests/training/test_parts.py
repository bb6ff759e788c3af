from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_mbrl.storage import records
from offline_mbrl.training.job import Job, Paths, make_job
from offline_mbrl.training.opening import fit_job
from offline_mbrl.training.parts import cut, slices
from offline_mbrl.training.run import run_jobs
from tests.training.tiny import TINY_MOPO


def mopo(**changes: object) -> Job:
    settings: dict[str, Any] = {"source": "synthetic", "size": 300, "steps": 20, "evaluate_every": 10, "episodes": 1}
    return make_job("mopo", "hopper-medium", overrides=TINY_MOPO | changes, seeds=(0, 1, 2), **settings)


def test_lanes_are_cut_into_parts_as_equal_as_can_be() -> None:
    assert cut((5, 6, 7, 8), 2) == [(5, 6), (7, 8)]
    assert cut("abcde", 2) == ["abc", "de"]
    assert slices(3, 2) == [slice(0, 2), slice(2, 3)]
    assert cut((1,), 2) == [(1,)]


@pytest.mark.medium
def test_a_run_in_parts_gives_the_numbers_of_a_whole_one_and_goes_on_as_a_whole_one(tmp_path: Path) -> None:
    """Two jobs whose numbers differ, three seeds each: parts of three lanes."""
    jobs = [mopo(), mopo(penalty_weight=3.0)]
    scores: list[list[Any]] = []
    metrics: list[list[list[Any]]] = []
    for parts in (1, 2):
        out, paths = tmp_path / str(parts), Paths(cache=tmp_path / f"cache{parts}")
        run_jobs([(job, out / job.name) for job in jobs], paths, parts=parts)
        folders = [out / job.name for job in jobs]
        assert [records.job_status(folder) for folder in folders] == ["finished"] * 2
        scores.append([line["score"] for folder in folders for line in records.read_records(folder / records.SCORES)])
        lines = [line for folder in folders for line in records.read_records(folder / records.METRICS)]
        metrics.append([[value for name, value in sorted(line.items())] for line in lines])
    np.testing.assert_allclose(metrics[0], metrics[1], rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(scores[0], scores[1], rtol=2e-2, atol=2e-2)


@pytest.mark.medium
def test_a_fit_made_beforehand_is_the_one_that_the_run_uses(tmp_path: Path) -> None:
    job, paths = mopo(), Paths(cache=tmp_path / "cache")
    fit_job(job, "dynamics", paths)
    (folder,) = (tmp_path / "cache" / "dynamics").iterdir()
    made = {path: path.stat().st_mtime_ns for path in (folder / "seeds").rglob("*") if path.is_file()}
    run_jobs([(job, tmp_path / "run")], paths)
    assert {path: path.stat().st_mtime_ns for path in (folder / "seeds").rglob("*") if path.is_file()} == made
    assert records.job_status(tmp_path / "run") == "finished"
