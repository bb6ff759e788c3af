"""Orders and regrets worked out by hand."""

import numpy as np
import pytest

from offline_mbrl.selection.ranking import absolute_error, mean_rank, regret
from offline_mbrl.selection.scores import COMBINED, Candidate, scores

TRUTH = np.array([1.0, 9.0, 4.0, 7.0])


def test_the_truth_as_an_estimate_has_no_regret() -> None:
    assert [regret(TRUTH, TRUTH, kept) for kept in (1, 3, 5)] == [0.0, 0.0, 0.0]
    assert absolute_error(TRUTH, TRUTH) == 0.0


def test_regret_is_what_the_best_of_those_kept_lacks() -> None:
    estimates = np.array([4.0, 1.0, 3.0, 2.0])  # keeps 1, then 4, then 7, then 9
    assert [regret(estimates, TRUTH, kept) for kept in (1, 2, 3, 4)] == [8.0, 5.0, 2.0, 0.0]


def test_an_estimate_that_is_no_number_is_chosen_last() -> None:
    estimates = np.array([0.0, np.nan, 1.0, 2.0])
    assert [regret(estimates, TRUTH, kept) for kept in (1, 3, 4)] == [2.0, 2.0, 0.0]


def test_mean_ranks_combine_estimates_of_any_unit() -> None:
    np.testing.assert_array_equal(mean_rank([np.array([1.0, 2, 3]), np.array([-90.0, 0, -1e6])]), (1.5, 2.5, 2.0))


def candidate(seed: int, value: float, **estimates: float | None) -> Candidate:
    return Candidate("td3_bc", seed, 100, estimates, value, 10 * value)


def test_an_estimator_is_scored_over_the_policies_that_have_it() -> None:
    policies = [candidate(seed, value, fqe=value + 1) for seed, value in enumerate(TRUTH)]
    policies.append(candidate(9, 20.0, fqe=None))  # not finite
    policies.append(candidate(10, 2.0))
    (found,) = scores(policies)
    assert (found.estimator, found.candidates) == ("fqe", 5)
    assert found.regret == {1: 11.0, 3: 11.0, 5: 0.0}
    assert (found.chosen, found.chosen_score, found.best_score) == ("td3_bc, seed 1, step 100", 90.0, 200.0)


def test_estimates_that_are_the_truth_are_perfect_alone_and_combined() -> None:
    names = COMBINED[1]
    policies = [candidate(seed, value, **dict.fromkeys(names, value)) for seed, value in enumerate(TRUTH)]
    found = {one.estimator: one for one in scores(policies)}
    assert set(found) == {*names, "mean rank of fqe and model_penalized", "mean rank of all"}
    for one in found.values():
        assert one.correlation.value == pytest.approx(1.0)
        assert set(one.regret.values()) == {0.0}
    assert found["fqe"].error == 0.0
    assert found["td_error"].error is None
