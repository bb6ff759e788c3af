import numpy as np

from tests.probes.cases import SEEDS, above, below, value


def test_a_system_succeeds_with_two_thirds_of_its_seeds() -> None:
    outcomes = np.ones(SEEDS)
    outcomes[:3] = -5.0
    assert above(0.9).holds(outcomes)
    outcomes[3] = 0.8
    assert not above(0.9).holds(outcomes)


def test_an_ablation_fails_on_average() -> None:
    assert below(-1.0).holds(np.array([-5.0, -5.0, 1.0]))
    assert not below(-1.0).holds(np.array([-5.0, 1.0, 1.1]))


def test_a_value_is_met_from_both_sides() -> None:
    assert value(-20.0).holds(np.array([-21.1, -18.9, -20.0]))
    assert not value(-20.0).holds(np.full(3, -21.3))
    assert not value(-20.0).holds(np.full(3, -18.7))


def test_few_seeds_are_enough_only_where_each_ends_as_claimed() -> None:
    assert above(0.9).holds_for_each(np.ones(3))
    assert not above(0.9).holds_for_each(np.array([1.0, 1.0, 0.8]))
    assert not below(-1.0).holds_for_each(np.array([-5.0, -5.0, 1.0]))
