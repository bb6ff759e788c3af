"""What the functions of every system must do: shapes, purity, one compilation, seeds, restoring.

The system is small and its dynamics model barely trained: what is computed is judged elsewhere, here how.
"""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.conformance.case import Case, Trained, keys, train
from offline_mbrl.conformance.data import DATA, PROBLEM, ROWS, SEEDS, beside_others
from offline_mbrl.conformance.traces import Traces
from offline_mbrl.storage.checkpoint import Checkpoints

pytestmark = pytest.mark.medium


def shapes(tree: Any) -> list[tuple[str, tuple[int, ...], Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype) for path, leaf in leaves]


def test_functions_keep_shapes_and_types(traces: Traces) -> None:
    """The state is a fixed point of every function that gives one, and an action has the problem's width."""
    assert all(leaf.dtype != np.float64 for leaf in jax.tree.leaves(traces.state))
    for name, state in traces.states.items():
        assert shapes(state) == shapes(traces.state), name
    for name, action in traces.actions.items():
        assert (action.shape, action.dtype) == ((PROBLEM.action_dim,), jnp.float32), name


def test_metrics_are_scalars_of_different_names(traces: Traces) -> None:
    for metrics in traces.metrics.values():
        for name, value in metrics.items():
            assert value.shape == (), name
            assert jnp.issubdtype(value.dtype, jnp.floating), name
    assert not set(traces.metrics["update"]) & set(traces.metrics["refresh"])


def test_nothing_calls_back_to_the_host(traces: Traces) -> None:
    assert [name for name, program in traces.programs.items() if "callback" in program] == []


def test_trains_finitely_and_moves_its_state(together: Trained) -> None:
    assert len({frozenset(metrics) for metrics in together.history}) == 1
    for metrics in together.history:
        for quantity, values in metrics.items():
            assert values.shape == (len(SEEDS),), quantity
            assert np.isfinite(values).all(), quantity
    leaves = [leaf for leaf in jax.tree.leaves(together.state) if np.issubdtype(leaf.dtype, np.floating)]
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    both = zip(jax.tree.leaves(together.start), jax.tree.leaves(together.state), strict=True)
    assert any((before != after).any() for before, after in both)


def test_actions_lie_in_the_box_and_deterministic_ones_repeat(case: Case, together: Trained) -> None:
    state = case.program.deploy(together.state)
    obs = jnp.asarray(np.random.default_rng(1).normal(size=(len(SEEDS), 5, PROBLEM.obs_dim)), jnp.float32)
    for act in (case.program.act, *case.program.variants.values()):
        actions = np.asarray(act(state, obs))
        assert actions.shape == (len(SEEDS), 5, PROBLEM.action_dim)
        assert np.abs(actions).max() <= 1  # and so finite
        np.testing.assert_array_equal(actions, act(state, obs))


def test_a_concluded_state_acts_as_before(case: Case, together: Trained) -> None:
    """What a finished run keeps is no more than the state, and acts bit for bit as the state did."""
    concluded = case.program.conclude(together.state)
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(state)) for state in (concluded, together.state)]
    assert sizes[0] <= sizes[1]
    obs = jnp.asarray(np.random.default_rng(2).normal(size=(len(SEEDS), 5, PROBLEM.obs_dim)), jnp.float32)
    for act in (case.program.act, *case.program.variants.values()):
        before, after = act(case.program.deploy(together.state), obs), act(case.program.deploy(concluded), obs)
        np.testing.assert_array_equal(before, after)
        np.testing.assert_array_equal(before, act(case.program.conclude(case.program.deploy(together.state)), obs))


def test_compiles_once_for_all_periods(case: Case, together: Trained) -> None:
    assert together.programs == 1
    before = case.programs()
    case.advance(case.start(*SEEDS), SEEDS, 77)
    assert case.programs() == before


def test_what_is_sampled_ahead_is_not_changed_by_updates(case: Case, traces: Traces) -> None:
    """Where batches are gathered before the updates, `update` hands on what `sample` reads as it found it."""
    assert not case.algorithm.samples_ahead or traces.sampled <= traces.kept


def test_states_are_donated_whole(case: Case) -> None:
    """Every buffer is consumed, none is aliased by another leaf of the state."""
    state = case.start(*SEEDS)
    case.advance(state, SEEDS, 0)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    assert [jax.tree_util.keystr(path) for path, leaf in leaves if not leaf.is_deleted()] == []


def test_seeds_differ(together: Trained) -> None:
    assert any(leaf[0].tobytes() != leaf[1].tobytes() for leaf in jax.tree.leaves(together.state))
    assert any(values[0] != values[1] for metrics in together.history for values in metrics.values())


def test_a_seed_alone_equals_itself_in_a_batch(case: Case, together: Trained) -> None:
    """To rounding, after sixteen steps: the draws are the same, the sums are not always added in the same order.

    XLA chooses how to split a matrix product by its shape, and a batch of seeds has another shape than one seed. On CPU
    behavior cloning comes out bit-equal and the actor-critics differ by 1e-7 to 1e-5 of a weight.
    """
    alone = train(case, SEEDS[1]).state
    batch = jax.tree_util.tree_leaves_with_path(together.state)
    for (path, leaf), own in zip(batch, jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(own[0], leaf[1], rtol=1e-3, atol=1e-4, err_msg=jax.tree_util.keystr(path))


def test_a_lane_reads_its_own_rows_alone_where_the_system_says_so(case: Case, together: Trained) -> None:
    """What `across_tasks` claims: rows of others change nothing, and a state is as large for any data."""
    if not case.definition.across_tasks:
        return  # its lanes all have one data set, and there is nothing to hold it to
    beside = train(case, *SEEDS, data=beside_others(len(SEEDS)))
    both = zip(jax.tree_util.tree_leaves_with_path(beside.state), jax.tree.leaves(together.state), strict=True)
    for (path, leaf), own in both:
        np.testing.assert_allclose(leaf, own, rtol=1e-3, atol=1e-4, err_msg=jax.tree_util.keystr(path))
    half = jax.tree.map(lambda leaf: leaf[: ROWS // 2], DATA)
    start = jax.eval_shape(case.program.init, keys(SEEDS, "init"), half, case.models(*SEEDS))
    assert shapes(start) == shapes(together.start)


def test_a_restored_state_goes_on_bit_equal(case: Case, tmp_path: Path) -> None:
    state, _ = case.advance(case.start(*SEEDS), SEEDS, 0)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    restored = checkpoints.restore(1, jax.eval_shape(lambda: state))
    checkpoints.close()
    # Orbax commits what it restores to a device, for which jax would compile the same program again.
    restored = jax.tree.map(jnp.asarray, jax.device_get(restored))
    for period in range(1, 1 + math.ceil(10 / case.program.period)):
        state, expected = case.advance(state, SEEDS, period)
        restored, actual = case.advance(restored, SEEDS, period)
    first, second = jax.device_get(((state, expected), (restored, actual)))
    leaves = zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True)
    assert [jax.tree_util.keystr(path) for (path, one), other in leaves if one.tobytes() != other.tobytes()] == []


def test_its_policy_can_be_taken_away_as_plain_arrays(case: Case, together: Trained, tmp_path: Path) -> None:
    """What is read from a checkpoint without a template acts as the system does, in every way that it has."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, together.state)
    saved = jax.tree.map(lambda leaf: leaf[0], checkpoints.restore_plain(1))
    checkpoints.close()
    obs = np.random.default_rng(0).normal(size=(7, PROBLEM.obs_dim)).astype(np.float32)
    deployed = case.program.deploy(together.state)
    ways = dict(case.program.variants) or {"": case.program.act}
    policies = case.definition.policies(PROBLEM, case.config, saved)
    assert policies
    for name, actor in policies.items():
        expected = np.asarray(ways[name](deployed, jnp.stack([obs] * len(SEEDS))))[0]
        np.testing.assert_allclose(actor.act(obs), expected, atol=2e-5, err_msg=name)


def test_a_finished_run_says_what_attacks_ask(case: Case, together: Trained) -> None:
    """The policy's law has the mean that it acts by, and the critics judge one action by one finite number."""
    state = case.program.deploy(case.program.conclude(jax.tree.map(jnp.asarray, together.state)))
    lane, algorithm = jax.tree.map(lambda leaf: leaf[0], state), case.algorithm
    obs = DATA.transitions.obs[0]
    action = algorithm.act(lane, obs, jax.random.key(0), True)
    if algorithm.law is not None:
        mean, log_std = algorithm.law(lane, obs)
        assert mean.shape == log_std.shape == action.shape
        near = [np.allclose(action, squashed, atol=1e-5) for squashed in (jnp.tanh(mean), jnp.clip(mean, -1, 1))]
        assert any(near)
    if algorithm.value is not None:
        value = algorithm.value(lane, obs, action)
        assert value.shape == ()
        assert np.isfinite(value)
