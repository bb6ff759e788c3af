"""Films are decoded again: what was written is looked at."""

from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.simulation import filming
from offline_mbrl.simulation.evaluate import reset_seeds
from offline_mbrl.simulation.filming import Scene, compose, film, frame_steps, with_label
from offline_mbrl.simulation.playing import Played, play, read_played, save_played
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import ROBOTS
from tests.films import decode

SCENE = Scene("hopper", "d4rl-v2", [["seed 0 mean", "seed 1 mean"]], 64, 48)


def still(obs: np.ndarray) -> np.ndarray:
    """No torque."""
    return np.zeros((*obs.shape[:-1], 3), np.float32)


@pytest.fixture(scope="module")
def played() -> Played:
    return play(still, Simulator(ROBOTS["hopper"], 2), reset_seeds([0, 1], 0, 1), 40)


def test_played_episodes_begin_at_the_score_of_no_return_and_end_with_all(played: Played) -> None:
    np.testing.assert_allclose(played.score[0], ROBOTS["hopper"].normalized_score([0.0, 0.0]))
    assert played.qpos.shape == (len(played.score), 2, 6)
    assert played.alive[0].all()


def test_a_robot_that_fell_stays_and_scores_no_more() -> None:
    """Without torque a hopper falls within 300 steps."""
    played = play(still, Simulator(ROBOTS["hopper"], 2), reset_seeds([0, 1], 0, 1), 300)
    assert not played.alive[-1].any()
    first = int(played.alive.any(axis=1).argmin())
    assert len(played.qpos) == first + 1
    early = int(np.argmin(played.alive.sum(axis=0)))
    ended = int(played.alive[:, early].argmin())
    assert (played.qpos[ended:, early] == played.qpos[ended, early]).all()
    assert (played.score[ended:, early] == played.score[ended, early]).all()


def test_played_episodes_go_through_a_file(played: Played, tmp_path: Path) -> None:
    save_played(played, tmp_path / "p.npz")
    for before, after in zip(played, read_played(tmp_path / "p.npz"), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("seconds", "steps"), [(0.008, 5), (0.05, 1), (0.1, 1)])
def test_a_film_runs_in_real_time(seconds: float, steps: int) -> None:
    """The hopper's control step of 8 ms: every fifth is 25 frames a second."""
    assert frame_steps(seconds) == steps


def test_pictures_lie_row_by_row() -> None:
    cells = [np.full((2, 3, 3), value, np.uint8) for value in range(4)]
    picture = compose(cells, 2)
    assert picture.shape == (4, 6, 3)
    assert [picture[0, 0, 0], picture[0, 3, 0], picture[2, 0, 0], picture[2, 3, 0]] == [0, 1, 2, 3]


def test_a_label_lies_over_the_picture_which_is_dimmed_at_the_end() -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    grey = np.full((48, 120, 3), 100, np.uint8)
    assert with_label(grey, "score 3.0", dimmed=False).max() > 200
    assert with_label(grey, "", dimmed=True).mean() == 50


def test_a_film_of_another_kind_is_refused(played: Played, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"as \.mp4 or \.gif, not as film\.avi"):
        film(SCENE, played, [tmp_path / "film.avi"])


def test_where_nothing_can_draw_it_is_one_line(played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filming, "ways", lambda: [{"MUJOCO_GL": "nothing"}])
    with pytest.raises(UserError, match=r"nothing here can draw .*set MUJOCO_GL"):
        film(SCENE, played, [tmp_path / "film.mp4"])


@pytest.mark.medium
def test_films_hold_every_robot_and_move(played: Played, tmp_path: Path) -> None:
    pytest.importorskip("imageio", reason="imageio is not installed")
    pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    try:
        outs = film(SCENE, played, [tmp_path / "film.mp4", tmp_path / "film.gif"])
    except UserError as error:
        pytest.skip(f"nothing can draw here: {error}")
    for out in outs:
        frames, fps = decode(out)
        assert frames.shape == (9, 48, 128, 3), out  # 41 states, every fifth
        left, right = frames[:, 12:, :64].astype(int), frames[:, 12:, 64:].astype(int)
        assert np.abs(left[-1] - left[0]).max() > 40, "the robot does not move"
        assert np.abs(left[-1] - right[-1]).max() > 10, "both starts look alike"
        assert frames.std() > 10
        if out.suffix == ".mp4":
            assert fps == pytest.approx(25, abs=0.1)
