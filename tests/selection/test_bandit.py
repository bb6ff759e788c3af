"""The bandit on arms whose means are known."""

import numpy as np
import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.selection.bandit import Bandit, bandit_curve, run_trials, upper_bounds

SMALL = Bandit(pulls=30, trials=200, bootstraps=200)


def test_with_one_policy_the_curve_is_flat() -> None:
    curve = bandit_curve([np.array([10.0, 20.0, 60.0])], SMALL)
    for line in curve:
        np.testing.assert_allclose(line, 30.0)


def test_the_better_of_two_arms_far_apart_is_found_at_the_second_pull() -> None:
    curve = bandit_curve([np.array([0.0, 1.0]), np.array([100.0, 101.0])], SMALL)
    assert curve.mean[0] == pytest.approx(50.5, abs=10.0)  # the first pull is of either
    np.testing.assert_allclose(curve.mean[1:], 100.5)
    assert curve.low[0] < curve.mean[0] < curve.high[0]


def test_noisy_arms_need_many_episodes() -> None:
    generator = np.random.default_rng(0)
    arms = [generator.normal(mean, 10.0, 500) for mean in (20.0, 25.0)]
    curve = bandit_curve(arms, Bandit(pulls=150, trials=400, bootstraps=200))
    best = max(arm.mean() for arm in arms)
    assert curve.mean[1] < best - 1.0
    assert best - curve.mean[-1] < 0.6 * (best - curve.mean[1])


def test_only_some_of_many_policies_take_part() -> None:
    returns = [np.array([float(policy)]) for policy in range(20)]
    bandit = SMALL._replace(policies=3)
    curve = bandit_curve(returns, bandit)
    assert curve.mean[-1] == pytest.approx(14.75, abs=0.8)  # the best of 3 of 0 .. 19: 3 (20 + 1) / 4 - 1
    deployed = run_trials(returns, bandit, np.random.default_rng(0))
    assert max(len(set(trial)) for trial in deployed) <= 3


def test_the_same_seed_gives_the_same_curve() -> None:
    arms = [np.array([1.0, 5.0, 9.0]), np.array([4.0, 5.0])]
    np.testing.assert_array_equal(bandit_curve(arms, SMALL), bandit_curve(arms, SMALL))
    assert not np.array_equal(bandit_curve(arms, SMALL), bandit_curve(arms, SMALL._replace(seed=1)))


def test_an_arm_that_was_not_pulled_comes_first() -> None:
    bounds = upper_bounds(np.array([[8.0, 0.0]]), np.array([[4.0, 0.0]]), 5, 2.0)
    np.testing.assert_allclose(bounds, [[2.0 + 2.0 * (np.log(5) / 4) ** 0.5, np.inf]])


def test_policies_without_episodes_are_refused() -> None:
    for returns in ([], [np.array([1.0]), np.zeros(0)]):
        with pytest.raises(UserError, match="at least one stored episode"):
            bandit_curve(returns, SMALL)
