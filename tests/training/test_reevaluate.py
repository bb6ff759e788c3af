import numpy as np

from offline_mbrl.training.reevaluate import score_table

SCORES = np.array([[10.0, 20.0], [30.0, 50.0], [900.0, 900.0]])
LENGTHS = np.array([[100, 200], [300, 300], [7, 9]])


def test_a_diverged_seed_is_marked_and_left_out_of_the_mean() -> None:
    """Means 15 and 40, whose mean is 27.5; the third seed diverged."""
    lines = score_table((0, 1, 2), SCORES, LENGTHS, {2}).splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["0", "15.0", "7.1", "10.0", "20.0", "150.0"],
        ["1", "40.0", "14.1", "30.0", "50.0", "300.0"],
        ["2", "(diverged)", "900.0", "0.0", "900.0", "900.0", "8.0"],
    ]
    assert lines[-1] == "mean over seeds: 27.5, without the 1 that diverged"


def test_sound_seeds_are_averaged_without_remark() -> None:
    assert score_table((0, 1), SCORES[:2], LENGTHS[:2], ()).splitlines()[-1] == "mean over seeds: 27.5"


def test_one_episode_has_no_spread() -> None:
    assert "nan" not in score_table((0,), SCORES[:1, :1], LENGTHS[:1, :1], ())


def test_where_no_seed_is_sound_there_is_no_mean() -> None:
    last = score_table((2,), SCORES[2:], LENGTHS[2:], {2}).splitlines()[-1]
    assert last == "no mean, without the 1 that diverged"
