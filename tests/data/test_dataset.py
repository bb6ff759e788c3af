import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from offline_mbrl.data.dataset import Dataset, end_to_end, from_raw, to_device
from offline_mbrl.data.summary import describe, summarize
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import get_task

HOPPER = get_task("hopper-medium")


def build(raw: dict[str, Any], **labels: Any) -> Dataset:
    return from_raw(
        labels.pop("task", HOPPER), **{"source": "test", "name": "log", "physics": "d4rl-v2"} | labels, **raw
    )


def test_stored_next_observations_keep_every_row_and_mark_terminals_only(raw: dict[str, Any]) -> None:
    dataset = build(raw)
    np.testing.assert_array_equal(dataset.discounts, [1, 1, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(dataset.ends, [0, 0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(dataset.next_observations[:, 0], [1, 2, 3, 101, 102, 201, 202])


def test_missing_next_observations_keep_terminals_and_drop_other_ends(raw: dict[str, Any]) -> None:
    assert build(raw).known_next.all()
    del raw["next_observations"]
    dataset = build(raw)
    np.testing.assert_array_equal(dataset.observations[:, 0], [0, 1, 2, 100, 200])
    np.testing.assert_array_equal(dataset.next_observations[:, 0], [1, 2, 2, 101, 201])
    np.testing.assert_array_equal(dataset.rewards, [1, 2, 3, 4, 6])
    np.testing.assert_array_equal(dataset.discounts, [1, 1, 0, 1, 1])
    np.testing.assert_array_equal(dataset.known_next, [1, 1, 0, 1, 1])
    np.testing.assert_array_equal(dataset.ends, [0, 0, 1, 1, 1])


def test_who_learns_next_observations_gets_no_fillers(raw: dict[str, Any]) -> None:
    stored = to_device(build(raw), only_known_next=True)
    assert stored.transitions.reward.shape == (7,)
    del raw["next_observations"]
    every, known = to_device(build(raw)), to_device(build(raw), only_known_next=True)
    np.testing.assert_array_equal(every.transitions.reward, [1, 2, 3, 4, 6])
    np.testing.assert_array_equal(known.transitions.reward, [1, 2, 4, 6])
    np.testing.assert_array_equal(known.transitions.next_obs[:, 0], [1, 2, 101, 201])
    np.testing.assert_array_equal(known.episode_return, [6, 6, 9, 13])
    np.testing.assert_array_equal(known.is_first, [1, 0, 1, 1])
    np.testing.assert_array_equal(known.has_next, [1, 0, 0, 0])
    raw["terminals"][:] = True
    with pytest.raises(UserError, match="no row has a next observation to learn from"):
        to_device(build(raw), only_known_next=True)


def test_returns_count_the_steps_whose_rows_were_dropped(raw: dict[str, Any]) -> None:
    stored = build(raw).episodes
    del raw["next_observations"]
    dropped = build(raw).episodes
    np.testing.assert_array_equal(stored.returns, [6, 9, 13])
    np.testing.assert_array_equal(dropped.returns, stored.returns)
    np.testing.assert_array_equal(dropped.lengths, stored.lengths - [0, 1, 1])


def test_an_unmarked_jump_starts_a_new_episode(raw: dict[str, Any]) -> None:
    raw["timeouts"][:] = False
    dataset = build(raw)
    np.testing.assert_array_equal(dataset.ends, [0, 0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(dataset.episodes.complete, [True, False, False])


def test_a_step_that_is_terminal_and_timed_out_is_terminal(raw: dict[str, Any]) -> None:
    raw["timeouts"][2] = True
    dataset = build(raw)
    assert dataset.discounts[2] == 0
    np.testing.assert_array_equal(dataset.episodes.timeouts, [False, True, False])


def test_single_step_episodes_vanish_unless_they_are_terminal(raw: dict[str, Any]) -> None:
    del raw["next_observations"]
    raw["timeouts"][3] = True
    raw["terminals"][5] = True
    dataset = build(raw)
    np.testing.assert_array_equal(dataset.observations[:, 0], [0, 1, 2, 200])
    np.testing.assert_array_equal(dataset.episodes.lengths, [3, 1])
    np.testing.assert_array_equal(dataset.episodes.returns, [6, 6])


def test_a_log_of_single_steps_without_next_observations_is_refused(raw: dict[str, Any]) -> None:
    del raw["next_observations"]
    raw["terminals"][:], raw["timeouts"][:] = False, True
    with pytest.raises(UserError, match="no usable transition"):
        build(raw)


def test_rewards_of_shape_n_1_are_squeezed(raw: dict[str, Any]) -> None:
    plain = build(raw)
    column = build(raw | {"rewards": raw["rewards"][:, None]})
    assert column.rewards.shape == (7,)
    assert column.fingerprint == plain.fingerprint


def test_arrays_are_float32_and_read_only(raw: dict[str, Any]) -> None:
    dataset = build(raw)
    assert {column.dtype for column in dataset.transitions} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match="read-only"):
        dataset.rewards[0] = 0
    raw["rewards"][0] = 0  # the caller's own array stays writable


@pytest.mark.parametrize("column", ["observations", "actions", "rewards", "next_observations"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_values_are_refused_with_array_and_row(raw: dict[str, Any], column: str, value: float) -> None:
    raw[column].reshape(7, -1)[4, -1] = value
    with pytest.raises(UserError, match=f"{column} hold NaN or infinity, first in row 4"):
        build(raw)


@pytest.mark.parametrize("column", ["observations", "actions", "rewards", "terminals", "timeouts", "next_observations"])
def test_wrong_lengths_are_refused(raw: dict[str, Any], column: str) -> None:
    with pytest.raises(UserError, match="have shape"):
        build(raw | {column: raw[column][:-1]})


def test_another_robots_data_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"observations have shape \(7, 11\); walker2d-medium needs \(7, 17\)"):
        build(raw, task=get_task("walker2d-medium"))


@pytest.mark.parametrize("column", ["terminals", "timeouts"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "are 0 or 1; row 4 holds nan"),
        (2, "are 0 or 1; row 4 holds 2"),
        (-1, "are 0 or 1; row 4 holds -1"),
        (0.5, "are 0 or 1; row 4 holds 0.5"),
        (b"no", r"hold \|S2, not numbers"),
        ("False", "hold <U5, not numbers"),
        (None, "hold object, not numbers"),
    ],
)
def test_flags_that_are_neither_0_nor_1_are_refused(raw: dict[str, Any], column: str, value: Any, words: str) -> None:
    kind = np.asarray(value).dtype
    flags = raw[column].astype(float) if kind.kind in "if" else np.full(7, value, kind)
    flags[4] = value
    with pytest.raises(UserError, match=f"{column} {words}"):
        build(raw | {column: flags})


def test_numbers_in_text_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="rewards hold <U32, not numbers"):
        build(raw | {"rewards": raw["rewards"].astype(str)})


def test_what_float32_cannot_hold_is_refused_like_infinity(raw: dict[str, Any]) -> None:
    raw["rewards"][2] = 1e300
    with pytest.raises(UserError, match="rewards hold NaN or infinity, first in row 2"):
        build(raw)


def test_an_empty_log_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="at least one row"):
        build({column: array[:0] for column, array in raw.items()})


def test_actions_are_clipped_by_rounding_and_refused_beyond(raw: dict[str, Any]) -> None:
    raw["actions"][0, 0], raw["actions"][6, 2] = -1.0005, 1.0005
    actions = build(raw).actions
    assert (actions[0, 0], actions[6, 2]) == (-1, 1)
    raw["actions"][5, 1] = 1.01
    with pytest.raises(UserError, match=r"actions leave .* in 1 rows, first in row 5"):
        build(raw)


def test_the_fingerprint_is_of_content_task_and_physics(raw: dict[str, Any]) -> None:
    plain = build(raw)
    assert plain.fingerprint == build(raw, name="other", source="other").fingerprint
    others = [
        build(raw, physics="gymnasium-v4"),
        build(raw, task=get_task("hopper-random")),
        build(raw | {"rewards": raw["rewards"] + 1e-3}),
        build(raw | {"timeouts": np.eye(7, dtype=bool)[5] | raw["timeouts"]}),
    ]
    assert len({plain.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_the_fingerprint_tells_fillers_from_true_next_observations(raw: dict[str, Any]) -> None:
    rows = {column: array[:3] for column, array in raw.items()}
    stored = build(rows | {"next_observations": np.array([1.0, 2, 2])[:, None].repeat(11, 1)})
    fillers = build(rows | {"next_observations": None})
    for ours, theirs in zip(stored.transitions, fillers.transitions, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert stored.fingerprint != fillers.fingerprint


def test_to_device_gives_returns_and_boundaries_by_row(raw: dict[str, Any]) -> None:
    data = to_device(build(raw))
    np.testing.assert_array_equal(data.episode_return, [6, 6, 6, 9, 9, 13, 13])
    np.testing.assert_array_equal(data.is_first, [1, 0, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(data.has_next, [1, 1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(data.transitions.discount, [1, 1, 0, 1, 1, 1, 1])
    assert data.transitions.next_obs.shape == (7, 11)


def test_sets_end_to_end_keep_their_rows_and_say_whose_they_are(raw: dict[str, Any]) -> None:
    data = to_device(build(raw))
    short = jax.tree.map(lambda leaf: leaf[:3], data)
    joined = end_to_end([short, data], [2, 1])
    assert joined.own is not None
    np.testing.assert_array_equal(joined.own.first, [0, 0, 3])
    np.testing.assert_array_equal(joined.own.size, [3, 3, 7])
    np.testing.assert_array_equal(joined.episode_return, [6, 6, 6, 6, 6, 6, 9, 9, 13, 13])
    np.testing.assert_array_equal(joined.transitions.obs[3:], data.transitions.obs)
    assert end_to_end([data], [4]) is data


def test_the_summary_leaves_cut_episodes_out_of_the_returns(raw: dict[str, Any]) -> None:
    facts = summarize(build(raw))
    assert (facts.rows, facts.episodes, facts.terminals, facts.timeouts) == (7, 3, 1, 1)
    assert (facts.return_mean, facts.return_std, facts.length_mean) == (7.5, 1.5, 2.5)
    assert list(facts.return_quantiles) == [6, 6.75, 7.5, 8.25, 9]
    scale = 100 / (3234.3 + 20.272305)
    assert facts.score_mean == pytest.approx(scale * (7.5 + 20.272305))
    assert facts.score_std == pytest.approx(scale * 1.5)
    assert "1 terminal, 1 timed out, 1 cut" in describe(build(raw))
    assert "falls without a next observation" not in describe(build(raw))
    del raw["next_observations"]
    assert "5, 1 of them falls without a next observation, which fits of models leave out" in describe(build(raw))


def test_a_set_without_a_complete_episode_can_be_described(raw: dict[str, Any]) -> None:
    raw["terminals"][:], raw["timeouts"][:] = False, False
    assert "nan" in describe(build(raw))


def test_a_data_set_is_frozen(raw: dict[str, Any]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(build(raw), "name", "other")  # noqa: B010
