"""DROP: the subsets, the losses and the search by hand, and what conservatism is for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm
from offline_mbrl.algorithms.systems import drop
from offline_mbrl.algorithms.systems.bc import negative_log_likelihood
from offline_mbrl.algorithms.systems.drop import DROPConfig, DROPState
from offline_mbrl.nn.networks import GaussianActor, apply, critic_ensemble
from offline_mbrl.training.loop import advance_seed
from offline_mbrl.types import Array, Data, Problem, Transition

pytestmark = pytest.mark.medium

PROBLEM = Problem(2, 1, lambda obs: jnp.zeros(obs.shape[:-1], bool))
TINY = {"hidden": (8, 8), "batch_size": 32, "subsets": 4, "embedding_dim": 2}


def episodes(returns: list[float], length: int = 3) -> tuple[Array, Array]:
    """Return of every row and its start flag, for episodes of equal length."""
    per_row = jnp.repeat(jnp.asarray(returns, jnp.float32), length)
    return per_row, jnp.arange(per_row.shape[0]) % length == 0


def behaviors(count: int = 60, length: int = 8, spread: float = 0.1) -> Data:
    """Episodes that act around their own level, from -0.8 to 0.8, reward 1 - (a - 0.5)^2; the last row times out."""
    generator = np.random.default_rng(0)
    level = np.repeat(np.linspace(-0.8, 0.8, count), length)
    action = np.clip(level + spread * generator.normal(size=level.shape), -1, 1).astype(np.float32)
    reward = (1 - (action - 0.5) ** 2).astype(np.float32)
    obs = jnp.asarray(generator.normal(size=(count * length, 2)), jnp.float32)
    rows = Transition(
        obs, jnp.asarray(action[:, None]), jnp.asarray(reward), jnp.ones(len(reward)), jnp.roll(obs, -1, 0)
    )
    episode_return = np.repeat(reward.reshape(count, length).sum(1), length)
    place = jnp.arange(len(reward)) % length
    return Data(rows, jnp.asarray(episode_return), place == 0, place != length - 1)


def train(config: DROPConfig, data: Data, steps: int, seed: int = 0) -> tuple[Algorithm, DROPState]:
    algorithm, key = drop.build(PROBLEM, config, steps), jax.random.key(seed)
    run = lambda s: advance_seed(algorithm, steps, steps, s, data, key, jnp.zeros((), jnp.int32))[0]  # noqa: E731
    state = jax.jit(run)(algorithm.init(key, data, None)) if steps else algorithm.init(key, data, None)
    assert algorithm.deploy is not None
    return algorithm, jax.jit(algorithm.deploy)(state)


def actions(algorithm: Algorithm, state: DROPState, variant: str) -> np.ndarray:
    obs = jnp.asarray(np.random.default_rng(3).normal(size=(16, 2)), jnp.float32)
    act = algorithm.variants[variant]
    return np.asarray(jax.jit(jax.vmap(lambda o: act(state, o, jax.random.key(0), True)))(obs))[:, 0]


def test_subsets_are_groups_of_equally_many_episodes_by_return() -> None:
    keys, first = episodes([5.0, 1.0, 3.0, 2.0, 6.0, 4.0])
    thresholds = jax.jit(drop.subset_thresholds, static_argnums=2)(keys, first, 3)
    np.testing.assert_array_equal(thresholds, [1.0, 3.0, 5.0])
    np.testing.assert_array_equal(drop.subset_of(keys, thresholds)[::3], [2, 0, 1, 0, 2, 1])
    np.testing.assert_array_equal(drop.subset_of(jnp.asarray([-9.0, 99.0]), thresholds), [0, 2])


def test_one_subset_holds_everything_and_few_episodes_leave_some_empty() -> None:
    keys, first = episodes([5.0, 1.0])
    assert not drop.subset_of(keys, drop.subset_thresholds(keys, first, 1)).any()
    found = np.asarray(drop.subset_of(keys, drop.subset_thresholds(keys, first, 5)))[::3]
    assert found[0] > found[1]
    tied, first = episodes([2.0, 2.0, 2.0, 7.0])
    found = np.asarray(drop.subset_of(tied, drop.subset_thresholds(tied, first, 4)))[::3]
    assert len(set(found[:3].tolist())) == 1
    assert found[3] > found[0]


def test_random_subsets_are_as_large_do_not_follow_the_return_and_keep_episodes_whole() -> None:
    returns, first = episodes(np.random.default_rng(0).normal(size=400).tolist())
    keys = drop.order_key(returns, jnp.uint32(1234))
    found = np.asarray(drop.subset_of(keys, drop.subset_thresholds(keys, first, 4))).reshape(400, 3)
    assert (found == found[:, :1]).all()
    assert np.bincount(found[:, 0], minlength=4).tolist() == [100, 100, 100, 100]
    assert abs(np.corrcoef(found[:, 0], np.asarray(returns)[::3])[0, 1]) < 0.15
    other = drop.order_key(returns, jnp.uint32(99))
    assert (np.asarray(drop.subset_of(other, drop.subset_thresholds(other, first, 4)))[::3] != found[:, 0]).mean() > 0.5


def test_td_error_counts_known_rows_only() -> None:
    q, target = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), jnp.array([0.0, 4.0, 100.0])
    known = jnp.array([True, True, False])
    for function in (drop.td_error, jax.jit(drop.td_error)):
        assert float(function(q, target, known)) == pytest.approx((1 + 4 + 0 + 16) / 4)
    batched = jax.vmap(drop.td_error)(jnp.stack([q, 2 * q]), jnp.stack([target, 2 * target]), jnp.stack([known, known]))
    np.testing.assert_allclose(batched, [21 / 4, 21.0])
    assert float(drop.td_error(q, target, jnp.zeros(3, bool))) == 0.0


def test_the_multiplier_rises_while_the_bound_is_broken_and_never_falls_below_zero() -> None:
    assert float(drop.raise_multiplier(jnp.asarray(1.0), jnp.asarray(2.0), 0.1)) == pytest.approx(1.2)
    assert float(drop.raise_multiplier(jnp.asarray(1.0), jnp.asarray(-2.0), 0.1)) == pytest.approx(0.8)
    assert float(drop.raise_multiplier(jnp.asarray(0.1), jnp.asarray(-2.0), 0.1)) == 0.0


def test_the_search_climbs_stays_in_the_box_and_never_returns_worse_than_its_start() -> None:
    top = jnp.asarray([0.4, -0.3])

    def hill(z: Array) -> Array:
        return -jnp.square(z - top).sum()

    def rough(z: Array) -> Array:
        return jnp.sin(37 * z).sum()

    found = jax.jit(lambda z: drop.ascend(hill, z, 40, 0.05))(jnp.asarray([-0.9, 0.9]))
    np.testing.assert_allclose(found, top, atol=0.05)
    np.testing.assert_array_equal(drop.ascend(hill, top, 10, 0.5), top)
    outward = drop.ascend(lambda z: z.sum(), jnp.zeros(2), 50, 0.1)
    np.testing.assert_allclose(outward, [1.0, 1.0])
    for start in np.random.default_rng(0).uniform(-1, 1, (20, 2)).astype(np.float32):
        assert rough(drop.ascend(rough, jnp.asarray(start), 7, 0.3)) >= rough(start)
    assert (drop.ascend(rough, jnp.asarray([0.2, 0.1]), 0, 0.3) == jnp.asarray([0.2, 0.1])).all()


def test_a_batch_pairs_rows_with_their_next_action_and_subset() -> None:
    data = behaviors(count=8, length=4)
    terminal = jnp.arange(32) == 7  # the last row of episode 1
    data = data._replace(transitions=data.transitions._replace(discount=1.0 - terminal))
    algorithm = drop.build(PROBLEM, DROPConfig.model_validate(TINY | {"batch_size": 256}), 1)
    state = algorithm.init(jax.random.key(0), data, None)
    batch = algorithm.sample(state, data, jax.random.key(1))
    row = np.array(
        [np.flatnonzero((np.asarray(data.transitions.obs) == o).all(1))[0] for o in np.asarray(batch.rows.obs)]
    )
    inner = row % 4 != 3
    np.testing.assert_array_equal(batch.known, inner | (row == 7))
    np.testing.assert_array_equal(
        np.asarray(batch.next_action)[inner], np.asarray(data.transitions.action)[row[inner] + 1]
    )
    scale = float(jnp.abs(data.transitions.reward).max())
    np.testing.assert_allclose(batch.rows.reward, np.asarray(data.transitions.reward)[row] / scale, rtol=1e-6)
    rank = np.argsort(np.argsort(np.asarray(data.episode_return)[::4]))
    np.testing.assert_array_equal(batch.subset, rank[row // 4] // 2)


def mean_score(state: DROPState, z: Array) -> Array:
    """mean over start states of min_k f_k(s, beta(s,z), z), from the modules themselves."""
    hidden = (state.networks.params.actor["MLP_0"]["Dense_0"]["bias"].shape[0],) * 2
    context = jnp.concatenate([state.starts, jnp.broadcast_to(z, (state.starts.shape[0], z.shape[0]))], axis=-1)
    action = jnp.tanh(apply(GaussianActor(hidden, 1), state.networks.params.actor, context)[0])
    values: Array = apply(critic_ensemble(2, hidden), state.networks.params.critic, context, action)
    return values.min(axis=0).mean()


def test_deploy_finds_the_best_occupied_embedding_and_grad_scores_no_lower() -> None:
    data = behaviors(count=6)
    _, state = train(DROPConfig.model_validate(TINY | {"subsets": 16, "search_steps": 7}), data, 0)
    assert int(state.occupied.sum()) <= 6
    table = np.asarray(jnp.tanh(state.networks.params.table))
    score = partial(mean_score, state)
    values = np.array([float(score(jnp.asarray(z))) for z in table])
    np.testing.assert_allclose(state.best, table[np.where(state.occupied, values, -np.inf).argmax()], rtol=1e-6)
    assert float(score(state.grad)) > float(score(state.best))


def test_without_search_steps_grad_is_best_and_with_one_subset_every_table_is_its_only_row() -> None:
    data = behaviors(count=8)
    algorithm, state = train(DROPConfig.model_validate(TINY | {"search_steps": 0}), data, 0)
    np.testing.assert_array_equal(actions(algorithm, state, "best"), actions(algorithm, state, "grad"))
    np.testing.assert_array_equal(actions(algorithm, state, "best-ada"), actions(algorithm, state, "grad-ada"))
    algorithm, state = train(DROPConfig.model_validate(TINY | {"subsets": 1}), data, 0)
    np.testing.assert_allclose(actions(algorithm, state, "best"), actions(algorithm, state, "best-ada"), rtol=1e-5)


def test_one_subset_is_behavior_cloning() -> None:
    """All rows share one z, and the policy's loss is the likelihood of the data under it, whatever the scores."""
    data = behaviors(count=8)
    algorithm = drop.build(PROBLEM, DROPConfig.model_validate(TINY | {"subsets": 1}), 1)
    state = algorithm.init(jax.random.key(0), data, None)
    batch = algorithm.sample(state, data, jax.random.key(1))
    z = jnp.broadcast_to(jnp.tanh(state.networks.params.table), (32, 2))
    inputs = jnp.concatenate([batch.rows.obs, z], axis=-1)
    mean, log_std = apply(GaussianActor((8, 8), 1), state.networks.params.actor, inputs)
    _, metrics = jax.jit(algorithm.update)(state, batch, jax.random.key(2))
    expected = negative_log_likelihood(mean, log_std, batch.rows.action)
    assert float(metrics["actor_loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_random_subsets_are_asked_for_by_name() -> None:
    data = behaviors(count=40)
    algorithm = drop.build(PROBLEM, DROPConfig.model_validate(TINY | {"grouping": "random"}), 1)
    state = algorithm.init(jax.random.key(0), data, None)
    batch = algorithm.sample(state, data, jax.random.key(1))
    keys = drop.order_key(data.episode_return, state.salt)
    np.testing.assert_array_equal(state.thresholds, drop.subset_thresholds(keys, data.is_first, 4))
    ranked = drop.build(PROBLEM, DROPConfig.model_validate(TINY), 1)
    by_return = ranked.sample(ranked.init(jax.random.key(0), data, None), data, jax.random.key(1))
    np.testing.assert_array_equal(by_return.rows.obs, batch.rows.obs)
    assert 0 < float((by_return.subset == batch.subset).mean()) < 0.6


def test_the_search_at_a_state_never_scores_below_the_table_there() -> None:
    config = DROPConfig.model_validate(TINY | {"search_steps": 7})
    algorithm, state = train(config, behaviors(count=8), 0)
    for obs in np.random.default_rng(5).normal(size=(6, 2)).astype(np.float32):
        here = state.replace(starts=jnp.tile(obs, (drop.STARTS, 1)))
        assert algorithm.deploy is not None
        found = algorithm.deploy(here)  # over one state alone Best and Grad are Best-Ada and Grad-Ada
        assert float(mean_score(here, found.grad)) >= float(mean_score(here, found.best))
        for fixed, adaptive in (("best", "best-ada"), ("grad", "grad-ada")):
            both = [algorithm.variants[v](found, jnp.asarray(obs), jax.random.key(0), True) for v in (fixed, adaptive)]
            np.testing.assert_allclose(both[0], both[1], atol=1e-4)


def test_gradients_go_where_they_should() -> None:
    """With nu = 0 the table is moved by cloning alone, as it is when R may not move it."""
    data, steps = behaviors(), 20
    tables = [
        train(DROPConfig.model_validate(TINY | extra), data, steps)[1].networks.params.table
        for extra in ({"multiplier": 0.0}, {"multiplier": 5.0, "regularize_embedding": False}, {"multiplier": 5.0})
    ]
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-5)
    assert float(jnp.abs(tables[0] - tables[2]).max()) > 1e-4


TRAINED = {
    "hidden": (32, 32),
    "batch_size": 128,
    "subsets": 12,
    "embedding_dim": 2,
    "discount": 0.5,
    "learning_rate": 3e-3,
}


def test_the_search_finds_the_good_behavior_that_cloning_averages_away() -> None:
    """Reward peaks at action 0.5; the data's mean action is 0."""
    data = behaviors()
    algorithm, state = train(DROPConfig.model_validate(TRAINED), data, 600)
    for variant in algorithm.variants:
        assert (1 - np.square(actions(algorithm, state, variant) - 0.5)).mean() > 0.9, variant
    algorithm, state = train(DROPConfig.model_validate(TRAINED | {"subsets": 1, "search_steps": 0}), data, 600)
    assert abs(actions(algorithm, state, "best").mean()) < 0.2


def test_without_conservatism_the_search_leaves_the_table() -> None:
    """The scores are then believed where no subset lies: the search ends further out, at a higher promise."""
    data, search = behaviors(), {"search_steps": 30, "search_size": 0.1}
    distance, promise = {}, {}
    for name, extra in {"free": {"multiplier": 0.0}, "held": {}}.items():
        _, state = train(DROPConfig.model_validate(TRAINED | search | extra), data, 600)
        table = jnp.tanh(state.networks.params.table)
        distance[name] = float(jnp.linalg.norm(table - state.grad, axis=1).min())
        promise[name] = float(mean_score(state, state.grad) - mean_score(state, state.best))
    assert distance["free"] > 2 * distance["held"]
    assert promise["free"] > 2 * promise["held"] >= 0
