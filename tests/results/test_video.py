"""A trained run as a film, which the report shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.results.report.gather import read_job_folder
from offline_mbrl.results.report.videos import films
from offline_mbrl.results.video import video
from offline_mbrl.training.job import Paths, make_job
from offline_mbrl.training.run import run_job
from tests.films import decode
from tests.training.tiny import TINY_BC

pytestmark = pytest.mark.medium


def test_seeds_stand_side_by_side_and_the_report_finds_the_film(tmp_path: Path) -> None:
    pytest.importorskip("imageio", reason="imageio is not installed")
    pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    out, overrides = tmp_path / "run", TINY_BC | {"policy": "gaussian"}
    settings: dict[str, Any] = {"source": "synthetic", "size": 300, "evaluate_every": 10, "episodes": 1}
    run_job(make_job("bc", "hopper-medium", steps=10, overrides=overrides, seeds=(0, 5), **settings), out, Paths())
    try:
        (path,) = video(out, seconds=0.2, size=(64, 48))
    except UserError as error:
        pytest.skip(f"nothing can draw here: {error}")
    assert path == out / "video" / "policy.mp4"
    frames, _ = decode(path)
    assert frames.shape[1:] == (96, 128, 3)  # two seeds beside each other, means above and draws below
    above, below = frames[-1, 12:48].astype(int), frames[-1, 60:96].astype(int)
    assert np.abs(above - below).max() > 20
    (film,) = films([read_job_folder(out, "run")])
    assert film.data.startswith("data:video/mp4;base64,")
