"""Records in trackers: what their own packages read back."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results import track
from offline_mbrl.results.track import Line, Point, follow, lines_of, open_sink, send
from offline_mbrl.storage import records


@pytest.fixture
def run(write_job: Callable[..., Path]) -> Path:
    """Two seeds with three evaluations and one metric."""
    folder = write_job("0123456789ab", {0: [1.0, 2.0, 3.0], 7: [4.0, 5.0, None]})
    metrics = [{"seed": seed, "step": step, "loss": step / 10} for seed in (0, 7) for step in (10, 20, 30)]
    records.append_records(folder / records.METRICS, metrics)
    return folder


def test_every_seed_is_a_line_with_its_points_in_order(run: Path) -> None:
    first, second = lines_of(run)
    assert (first.id, first.group) == ("0123456789ab-0", "mopo-hopper-medium")
    assert first.points[0] == (10, {"train/loss": 1.0, "eval/score": 1.0})
    assert second.points[-1] == (30, {"train/loss": 3.0})
    assert second.config["seed"] == 7


def test_a_run_that_has_not_begun_has_none(tmp_path: Path) -> None:
    assert lines_of(tmp_path) == []


@pytest.mark.medium
def test_tensorboard_reads_what_was_sent_once_also_when_it_was_sent_twice(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        assert send([run], "tensorboard", tmp_path / "board", "p") == f"2 seeds sent to tensorboard, {tmp_path}/board"
    read = EventAccumulator(str(tmp_path / "board" / "mopo-hopper-medium-0123-seed0"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("eval/score")] == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert {"train/loss", "eval/score"} == set(read.Tags()["scalars"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_its_own_package_takes_the_records_without_a_network(name: str, run: Path, tmp_path: Path) -> None:
    """In a process of its own: these packages change much of the one they are in."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    code = (
        "from pathlib import Path; from offline_mbrl.results.track import send;"
        f"print(send([Path({str(run)!r})], {name!r}, Path({str(tmp_path / 'out')!r}), 'p'))"
    )
    settings = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}

    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert f"2 seeds sent to {name}, project p" in ended.stdout
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".wandb", ".db", ".parquet", ".jsonl")]
    assert [path for path in kept if "0123456789ab" in str(path) or name == "trackio"], "nothing was kept"


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install 'offline-mbrl\[wandb\]'"):
        open_sink("wandb", tmp_path, "p")


class Memory:
    """A tracker that keeps what it is given, or breaks."""

    def __init__(self, breaks: bool = False) -> None:
        self.given: list[tuple[str, int]] = []
        self.closed, self._breaks = False, breaks

    def log(self, line: Line, points: Sequence[Point]) -> None:
        if self._breaks:
            raise ConnectionError("no route to host")
        self.given += [(line.id, step) for step, _ in points]

    def close(self) -> None:
        self.closed = True


def test_a_run_is_followed_as_it_grows_and_each_point_is_sent_once(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory = Memory()
    monkeypatch.setattr(track, "open_sink", lambda *_: memory)
    monkeypatch.setattr(track, "LOOK_EVERY", 0.02)
    with follow(run, ["tensorboard"], tmp_path, "p"):
        time.sleep(0.2)
        records.append_records(run / records.METRICS, [{"seed": 0, "step": 40, "loss": 4.0}])
    assert memory.given.count(("0123456789ab-0", 10)) == 1
    assert ("0123456789ab-0", 40) in memory.given
    assert memory.closed


def test_a_network_that_fails_is_a_warning_and_touches_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(track, "open_sink", lambda *_: Memory(breaks=True))
    with follow(run, ["wandb"], tmp_path, "p"):
        pass
    assert capsys.readouterr().err == "warning: tracking stopped: ConnectionError: no route to host\n"


def test_the_settings_go_along(run: Path) -> None:
    assert json.loads(json.dumps(lines_of(run)[0].config))["algorithm"] == "mopo"
