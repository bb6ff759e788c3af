"""Evaluation beside training: the same records, in the same order, whatever stops or fails on the way."""

import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from offline_mbrl.stopping import Stopped, heed_signals, request_stop
from offline_mbrl.storage import records
from offline_mbrl.training import loop
from offline_mbrl.training import run as run_module
from offline_mbrl.training.job import Job, Paths, make_job
from offline_mbrl.training.opening import Opened
from offline_mbrl.training.run import run_job
from tests.training.tiny import TINY_BC, TINY_MOPO

pytestmark = pytest.mark.medium

OVERRIDES: dict[str, dict[str, object]] = {
    "bc": TINY_BC,
    "mopo": TINY_MOPO,
    "drop": {"hidden": (8, 8), "batch_size": 8, "subsets": 4, "ascent_steps": 1, "search_steps": 1},
}


def make(algorithm: str) -> Job:
    settings: dict[str, Any] = {"source": "synthetic", "size": 500, "evaluate_every": 10, "episodes": 2}
    return make_job(algorithm, "hopper-medium", steps=40, seeds=(0, 1), overrides=OVERRIDES[algorithm], **settings)


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (records.SCORES, records.METRICS)}


@pytest.mark.parametrize("algorithm", ["bc", "mopo", "drop"])
def test_beside_or_between_the_records_are_the_same(tmp_path: Path, algorithm: str) -> None:
    job, paths = make(algorithm), Paths(cache=tmp_path / "cache")
    for name, beside in (("beside", True), ("between", False)):
        assert run_job(job, tmp_path / name, paths, beside=beside) == []
    assert files(tmp_path / "beside") == files(tmp_path / "between")


def test_the_next_period_trains_while_a_policy_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first evaluation waits for the second period's end: in turn it would wait forever."""
    trained, score, periods = threading.Event(), run_module._score, loop.periods

    def watched(*args: Any) -> Any:
        for number, period in enumerate(periods(*args)):
            if number == 1:
                trained.set()
            yield period

    def wait_first(opened: Opened, simulator: Any, deployed: Any, step: int) -> Any:
        assert step > 10 or trained.wait(timeout=120)
        return score(opened, simulator, deployed, step)

    monkeypatch.setattr(run_module, "periods", watched)
    monkeypatch.setattr(run_module, "_score", wait_first)
    assert run_job(make("bc"), tmp_path / "run", Paths(), beside=True) == []


@pytest.mark.parametrize("save_every", [0.0, 3600.0])
def test_what_fails_or_stops_in_an_evaluation_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_every: float
) -> None:
    job, score = make("bc"), run_module._score
    run_job(job, tmp_path / "whole", Paths(), beside=False)

    def fail(opened: Opened, simulator: Any, deployed: Any, step: int) -> Any:
        if step == 20:
            raise OSError("the simulator is gone")
        return score(opened, simulator, deployed, step)

    def stop(opened: Opened, simulator: Any, deployed: Any, step: int) -> Any:
        if step == 20:
            request_stop(signal.SIGTERM)
        return score(opened, simulator, deployed, step)

    for interrupted, error in ((fail, OSError), (stop, Stopped)):
        with monkeypatch.context() as patch, heed_signals():
            patch.setattr(run_module, "_score", interrupted)
            with pytest.raises(error):
                run_job(job, tmp_path / "run", Paths(), save_every=save_every, beside=True)
    run_job(job, tmp_path / "run", Paths(), save_every=save_every, beside=True)
    assert files(tmp_path / "run") == files(tmp_path / "whole")
