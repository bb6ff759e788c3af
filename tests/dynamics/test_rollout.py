"""Branched rollouts: who is alive, what is stored, and that chunks and shortcuts do not change the law."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.dynamics import ring
from offline_mbrl.dynamics import rollout as rollouts
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.models.gaussian import Weights
from offline_mbrl.dynamics.rollout import ModelStep, Rollout, ensemble_model, flatten, rollout
from offline_mbrl.dynamics.uncertainty import PENALTIES, PenaltyName
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.types import Array, Key


def countdown(obs: Array, action: Array, key: Key) -> ModelStep:
    """obs [B, 1] counts down by one; a row ends when it reaches 0."""
    next_obs = obs - 1.0
    return ModelStep(10.0 * obs[:, 0], next_obs, (next_obs[:, 0] > 0).astype(jnp.float32), obs[:, 0])


def idle(obs: Array, key: Key) -> Array:
    return jnp.zeros((obs.shape[0], 2))


def column(*values: float) -> Array:
    return jnp.array(values, jnp.float32)[:, None]


def test_terminal_rows_are_stored_once_and_nothing_after_them() -> None:
    made = jax.jit(lambda starts: rollout(countdown, idle, starts, 4, jax.random.key(0)))(column(1, 2, 3, 9))
    assert made.alive.T.tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]
    rows, alive = flatten(made)
    held = ring.push(ring.empty(16, 1, 2), rows, alive)
    stored = np.asarray(held.rows.obs)[: int(held.size), 0].tolist()
    assert sorted(stored) == sorted([1, 2, 1, 3, 2, 1, 9, 8, 7, 6])
    assert min(stored) > 0  # no row starts at a terminal state
    ends = np.asarray(held.rows.discount)[: int(held.size)] == 0
    assert ends.sum() == 3
    np.testing.assert_array_equal(np.asarray(held.rows.next_obs)[: int(held.size)][ends], 0.0)


def test_the_last_step_of_a_branch_is_not_a_terminal() -> None:
    """A branch that is merely cut at the horizon keeps discount 1, as a time-out does."""
    made = rollout(countdown, idle, column(50, 60), 3, jax.random.key(0))
    np.testing.assert_array_equal(made.rows.discount, 1.0)
    assert made.alive.all()


def test_states_chain_and_the_policy_sees_them() -> None:
    made = rollout(countdown, lambda obs, key: jnp.tile(obs, (1, 2)), column(7, 8), 3, jax.random.key(0))
    np.testing.assert_array_equal(made.rows.obs[1:], made.rows.next_obs[:-1])
    np.testing.assert_array_equal(made.rows.action[..., 0], made.rows.obs[..., 0])
    np.testing.assert_array_equal(made.rows.reward, 10 * made.rows.obs[..., 0])


@pytest.mark.parametrize("poison", ["next_obs", "reward", "infinite"])
def test_predictions_that_are_not_finite_are_never_stored(poison: str) -> None:
    def broken(obs: Array, action: Array, key: Key) -> ModelStep:
        made = countdown(obs, action, key)
        bad = obs[:, 0] == 8
        if poison == "reward":
            return made._replace(reward=jnp.where(bad, jnp.nan, made.reward))
        value = jnp.inf if poison == "infinite" else jnp.nan
        # A rule that says "terminal" does not help: 0 times NaN is NaN.
        return made._replace(next_obs=jnp.where(bad[:, None], value, made.next_obs), discount=jnp.where(bad, 0.0, 1.0))

    made = rollout(broken, idle, column(9, 20), 4, jax.random.key(0))
    assert made.alive[:, 0].tolist() == [True, False, False, False]
    assert made.alive[:, 1].all()
    rows, alive = flatten(made)
    held = ring.push(ring.empty(8, 1, 2), rows, alive)
    assert int(held.size) == 5
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in held.rows)


def noisy(obs: Array, action: Array, key: Key) -> ModelStep:
    """A random walk that ends where it leaves [-2, 2]."""
    next_obs = obs + jax.random.normal(key, obs.shape)
    return ModelStep(next_obs[:, 0], next_obs, (jnp.abs(next_obs[:, 0]) < 2).astype(jnp.float32), jnp.abs(obs[:, 0]))


@pytest.mark.parametrize("chunk", [1, 5, 6, 12, 100])
def test_chunks_leave_a_deterministic_rollout_as_it_is(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = column(*range(1, 13))
    whole = rollout(countdown, idle, starts, 5, jax.random.key(0))
    monkeypatch.setattr(rollouts, "CHUNK", chunk)
    for whole_leaf, leaf in zip(
        jax.tree.leaves(whole), jax.tree.leaves(rollout(countdown, idle, starts, 5, jax.random.key(0))), strict=True
    ):
        np.testing.assert_array_equal(leaf, whole_leaf)


def test_chunks_do_not_change_the_marginals(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = jnp.zeros((6000, 1))
    whole = rollout(noisy, idle, starts, 3, jax.random.key(0))
    monkeypatch.setattr(rollouts, "CHUNK", 1000)
    parts = rollout(noisy, idle, starts, 3, jax.random.key(1))
    assert parts.alive.shape == whole.alive.shape == (3, 6000)
    np.testing.assert_allclose(whole.alive.mean(axis=1), parts.alive.mean(axis=1), atol=0.04)
    alive = np.asarray(whole.alive[-1]), np.asarray(parts.alive[-1])
    spread = [np.asarray(made.rows.reward[-1])[mask].std() for made, mask in zip((whole, parts), alive, strict=True)]
    assert spread[0] == pytest.approx(spread[1], rel=0.05)
    assert len(np.unique(np.asarray(parts.rows.reward[0]))) > 5900  # chunks do not repeat each other's noise


def test_rows_and_steps_have_noise_of_their_own() -> None:
    made = rollout(noisy, idle, jnp.zeros((4000, 1)), 2, jax.random.key(0))
    steps = np.asarray(made.rows.next_obs - made.rows.obs)[..., 0]
    assert abs(np.corrcoef(steps)[0, 1]) < 0.06


@pytest.mark.parametrize(("rows", "parts"), [(1, 1), (10_000, 1), (10_001, 73), (50_000, 5), (30_000, 3)])
def test_chunks_are_equal_and_no_larger_than_the_limit(rows: int, parts: int) -> None:
    assert rollouts._chunks(rows) == parts
    assert rows % parts == 0
    assert rows // parts <= rollouts.CHUNK


def test_a_prime_number_of_rows_is_not_rolled_out_one_by_one() -> None:
    assert rollouts._chunks(10_007) == 1


def labelled(elites: list[int]) -> Ensemble:
    """Member i predicts reward i and a step of i in every state, with deviation exp(i - 8)."""
    count, width = 5, 3
    logvar = jnp.broadcast_to(2.0 * (jnp.arange(count)[:, None] - 8.0), (count, width))
    bias = jnp.concatenate([jnp.broadcast_to(jnp.arange(count)[:, None], (count, width)), logvar], axis=1)
    weights = Weights((Layer(jnp.zeros((count, 3, 2 * width)), bias),), jnp.full(width, -40.0), jnp.full(width, 20.0))
    return Ensemble(weights, Normalizer(jnp.zeros(3), jnp.ones(3)), jnp.array(elites, jnp.int32))


def step(penalty: PenaltyName | None, rows: int = 3000, elites: tuple[int, ...] = (0, 3, 4)) -> ModelStep:
    model = ensemble_model(
        labelled(list(elites)), lambda obs: obs[..., 0] > 13.5, None if penalty is None else PENALTIES[penalty]
    )
    return jax.jit(model)(jnp.full((rows, 2), 10.0), jnp.zeros((rows, 1)), jax.random.key(0))


@pytest.mark.parametrize("penalty", [None, "individual", "max_aleatoric"])
def test_a_model_step_is_one_random_elites(penalty: PenaltyName | None) -> None:
    """Whether one member is evaluated or all, rewards, states and terminals are those of one elite for each row."""
    made = step(penalty)
    member = np.round(np.asarray(made.reward)).astype(int)
    assert set(member.tolist()) == {0, 3, 4}
    share = np.bincount(member, minlength=5)[[0, 3, 4]] / 3000
    np.testing.assert_allclose(share, 1 / 3, atol=5 * np.sqrt(2 / 9 / 3000))
    np.testing.assert_allclose(made.next_obs, 10.0 + member[:, None] * np.ones((1, 2)), atol=0.15)
    np.testing.assert_array_equal(made.discount, np.where(np.asarray(made.next_obs)[:, 0] > 13.5, 0.0, 1.0))
    noise = np.asarray(made.reward) - member
    assert noise[member == 4].std() == pytest.approx(np.exp(-4), rel=0.1)


def test_the_individual_penalty_is_the_sampled_members() -> None:
    made = step("individual")
    member = np.round(np.asarray(made.reward))
    np.testing.assert_allclose(made.uncertainty, np.sqrt(3) * np.exp(member - 8), rtol=1e-3)


def test_other_penalties_see_every_member_and_no_penalty_is_zero() -> None:
    np.testing.assert_allclose(step("max_aleatoric", elites=(0, 1)).uncertainty, np.sqrt(3) * np.exp(-4.0), rtol=1e-3)
    np.testing.assert_allclose(step("max_pair", elites=(0, 1)).uncertainty, np.sqrt(2) * 4, rtol=1e-3)
    np.testing.assert_array_equal(step(None).uncertainty, 0.0)


def test_a_seed_alone_equals_itself_among_others() -> None:
    keys, starts = jax.random.split(jax.random.key(0), 3), jnp.zeros((5, 1))
    run = partial(rollout, noisy, idle, starts, 4)
    together: Rollout = jax.vmap(run)(keys)
    alone = run(keys[1])
    np.testing.assert_allclose(together.rows.obs[1], alone.rows.obs, rtol=1e-6)
    np.testing.assert_array_equal(together.alive[1], alone.alive)
