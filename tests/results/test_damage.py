"""A bit that flips in any file of a run is noticed, or changes nothing of what a table says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.tables import table
from offline_mbrl.storage import records
from tests.damage import flip_a_bit

FLIPS = 100


def write_run(folder: Path, *, done: bool) -> None:
    """A run of two seeds, one of which diverged half way, as training leaves it."""
    job = {"id": "0123456789ab", "algorithm": "mopo", "task": "hopper-medium", "source": "builtin"}
    protocol = {"physics": "d4rl-v2", "seeds": [0, 1], "steps": 40, "evaluate_every": 10, "episodes": 2}
    config = {"precision": "default", "config": {"penalty": "max", "dynamics": {"hidden": [200, 200], "lr": 0.001}}}
    data = {"name": "hopper-medium@100k", "fingerprint": "sha256:0123", "rows": 100_000, "score_mean": 44.1}
    folder.mkdir()
    records.write_json(folder / records.JOB, job | protocol | config)
    records.write_json(folder / records.ENVIRONMENT, {"platform": "cpu", "dataset": data | {"score_std": 3.5}})
    records.write_json(folder / records.DIVERGED, [{"seed": 1, "step": 30, "quantity": "q", "value": "nan"}])
    for step in (10, 20, 30, 40):
        for seed in (0, 1) if step < 30 else (0,):
            score = {"seed": seed, "step": step, "returns": [step / 3, step / 7], "score": step / 9 + seed}
            records.append_records(folder / records.SCORES, [score])
            records.append_records(folder / records.METRICS, [{"seed": seed, "step": step, "q": step / 3}])
    if done:
        records.write_json(folder / records.DONE, {"steps": 40})


def tables(folder: Path) -> list[str]:
    return [table([folder], form) for form in ("md", "csv")]


def complaint(read: Callable[[], object]) -> str:
    """What is said of the damage; empty when nothing is."""
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


READ = (records.JOB, records.ENVIRONMENT, records.DIVERGED, records.SCORES)
KINDS = [(name, done) for name in (*READ, records.METRICS) for done in (True, False)]


@pytest.mark.parametrize(("name", "done"), [*KINDS, (records.DONE, True)])
def test_a_table_never_changes_silently(tmp_path: Path, name: str, done: bool) -> None:
    folder, generator, noticed = tmp_path / "run", np.random.default_rng(0), 0
    write_run(folder, done=done)
    sound, whole = tables(folder), (folder / name).read_bytes()
    for _ in range(FLIPS):
        flip_a_bit(folder / name, generator)
        said = complaint(lambda: tables(folder))
        assert name in said if said else tables(folder) == sound
        noticed += bool(said)
        (folder / name).write_bytes(whole)
    assert noticed > 0.9 * FLIPS if name in READ else noticed == 0


@pytest.mark.parametrize("name", [records.SCORES, records.METRICS])
def test_a_resumed_run_never_goes_on_from_damaged_records(tmp_path: Path, name: str) -> None:
    """What is kept up to a checkpoint is as it was written, or the resumed run says what is damaged."""
    generator = np.random.default_rng(1)
    write_run(tmp_path / "run", done=False)
    path = tmp_path / "run" / name
    whole = path.read_bytes()
    for _ in range(FLIPS):
        flip_a_bit(path, generator)
        said = complaint(lambda: records.truncate_after(path, 40))
        assert name in said if said else path.read_bytes() == whole
        path.write_bytes(whole)
