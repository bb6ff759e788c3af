"""What every algorithm of the registry must do, whatever it computes.

A new algorithm is tested by being there. It runs with `COMMON` values where its configuration has such fields, and with
its entry in `OWN`, where other knobs of its own would make it slow.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, State
from offline_mbrl.algorithms.registry import definitions, get_definition
from offline_mbrl.dynamics import fit
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.models.gaussian import GaussianConfig, init_weights
from offline_mbrl.keys import stream
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.storage.checkpoint import Checkpoints
from offline_mbrl.training.loop import Program, compile_program
from offline_mbrl.types import Data, Key, Problem, Transition
from tests.overrides import Settings, configure

pytestmark = pytest.mark.medium

COMMON: Settings = {
    "hidden": (8, 8),
    "batch_size": 20,
    "rollout_batch": 12,
    "rollout_every": 4,
    "horizon": 2,
    "retain": 2,
    "real_ratio": 0.5,
    "dynamics": {"members": 3, "elites": 2, "hidden": (8,), "weight_decay": (0.0, 0.0)},
}

OWN: dict[str, Settings] = {
    "armor": {"capacity": 100, "warm_steps": 4},
    "atac": {"warm_steps": 4},
    "combo": {"action_samples": 2},
    "cql": {"action_samples": 2},
    "crop": {
        "critic_hidden": (8, 8),
        "reward": {"members": 2, "elites": 2, "hidden": (8,), "max_epochs": 2},
    },
    "drop": {"subsets": 4, "ascent_steps": 2, "search_steps": 2},
    "edac": {"critics": 3},
    "micro": {"next_samples": 2},
    "mobile": {"next_samples": 2},
    "rambo": {"adversary_steps": 2, "pretrain_epochs": 1},
}

PERIODS = 4
OBS_DIM, ACTION_DIM, ROWS, EPISODE = 3, 2, 96, 8
NAMES = list(definitions())


def tiny_data() -> Data:
    """Twelve episodes of eight rows; every third ends in a terminal, the others at the time limit."""
    generator = np.random.default_rng(0)
    obs = generator.normal(size=(ROWS // EPISODE, EPISODE + 1, OBS_DIM)).cumsum(axis=1) * 0.3
    action = generator.uniform(-1, 1, (ROWS, ACTION_DIM))
    reward = generator.normal(size=ROWS) + 1.0
    last = np.arange(ROWS) % EPISODE == EPISODE - 1
    discount = np.where(last & (np.arange(ROWS) // EPISODE % 3 == 0), 0.0, 1.0)
    returns = np.repeat(reward.reshape(-1, EPISODE).sum(axis=1), EPISODE)
    columns = (obs[:, :-1].reshape(ROWS, OBS_DIM), action, reward, discount, obs[:, 1:].reshape(ROWS, OBS_DIM))
    return Data(
        Transition(*(jnp.asarray(column, jnp.float32) for column in columns)),
        jnp.asarray(returns, jnp.float32),
        jnp.asarray(np.arange(ROWS) % EPISODE == 0),
        jnp.asarray(~last),
    )


PROBLEM = Problem(OBS_DIM, ACTION_DIM, lambda obs: jnp.abs(obs).max(axis=-1) > 4)
DATA = tiny_data()


class Case(NamedTuple):
    """One algorithm, made small and compiled."""

    definition: Definition
    algorithm: Algorithm
    program: Program
    dynamics: GaussianConfig | None

    def ensembles(self, seeds: tuple[int, ...]) -> Ensemble | None:
        """Untrained ensembles [seeds], each its seed's own."""
        return None if self.dynamics is None else untrained(self.dynamics, keys(seeds, "fit"))

    def start(self, *seeds: int) -> State:
        return self.program.init(keys(seeds, "init"), DATA, self.ensembles(seeds))

    def advance(self, state: State, seeds: tuple[int, ...], period: int) -> tuple[State, dict[str, np.ndarray]]:
        """The period with number `period`."""
        state, metrics = self.program.advance(state, DATA, keys(seeds, "train"), period * self.program.period)
        return state, jax.device_get(metrics)

    def run(self, *seeds: int) -> tuple[State, list[dict[str, np.ndarray]]]:
        state, history = self.start(*seeds), []
        for period in range(PERIODS):
            state, metrics = self.advance(state, seeds, period)
            history.append(metrics)
        return state, history


def keys(seeds: tuple[int, ...], purpose: str) -> Key:
    return jax.vmap(lambda seed: stream(jax.random.key(seed), purpose))(jnp.asarray(seeds, jnp.uint32))


@cache
def untrained_fit(config: GaussianConfig) -> Any:
    def make(key: Key) -> Ensemble:
        weights = init_weights(config, OBS_DIM, ACTION_DIM, key)
        scaler = Normalizer.fit(fit.inputs(DATA.transitions))
        return Ensemble(weights, scaler, jnp.arange(config.elites, dtype=jnp.int32))

    return jax.jit(jax.vmap(make))


def untrained(config: GaussianConfig, keys: Key) -> Ensemble:
    ensembles: Ensemble = untrained_fit(config)(keys)
    return ensembles


@cache
def case(name: str) -> Case:
    definition = get_definition(name)
    config = configure(definition, COMMON, OWN.get(name, {}))
    algorithm = definition.build(PROBLEM, config, 100)
    period = max(4, algorithm.refresh_every)
    assert period <= 20, f"add a small interval for {name} to OWN"
    return Case(definition, algorithm, compile_program(algorithm, period), definition.ensemble(config))


@cache
def batch_run(name: str) -> tuple[Any, list[dict[str, np.ndarray]]]:
    """The run of seeds 0 and 1 together, made once; the state is on the host, so that nobody can consume it."""
    state, history = case(name).run(0, 1)
    return jax.device_get(state), history


def shapes(tree: Any) -> list[tuple[str, tuple[int, ...], Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf.shape, leaf.dtype) for path, leaf in leaves]


def single(name: str) -> tuple[State, Ensemble | None]:
    """One seed's state and ensemble as shapes."""
    made = case(name)
    ensemble = jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[0], made.ensembles((0,))))
    state = jax.eval_shape(lambda e: made.algorithm.init(jax.random.key(0), DATA, e), ensemble)
    return state, ensemble


@pytest.mark.parametrize("name", NAMES)
def test_functions_keep_shapes_and_types(name: str) -> None:
    """The state is a fixed point of update and refresh, metrics are scalars, and an action has the problem's width."""
    algorithm, (state, _) = case(name).algorithm, single(name)
    key = jax.random.key(0)
    batch = jax.eval_shape(lambda s: algorithm.sample(s, DATA, key), state)
    updated, metrics = jax.eval_shape(lambda s, b: algorithm.update(s, b, key), state, batch)
    assert shapes(updated) == shapes(state)
    if algorithm.refresh:
        refreshed, more = jax.eval_shape(lambda s: algorithm.refresh(s, DATA, key), state)  # type: ignore[misc]
        assert shapes(refreshed) == shapes(state)
        assert not set(more) & set(metrics)
        metrics = metrics | more
    if algorithm.deploy:
        assert shapes(jax.eval_shape(algorithm.deploy, state)) == shapes(state)
    assert all(value.shape == () and jnp.issubdtype(value.dtype, jnp.floating) for value in metrics.values())
    assert all(leaf.dtype != np.float64 for leaf in jax.tree.leaves(state))
    for deterministic in (True, False):
        action = jax.eval_shape(lambda s, d=deterministic: algorithm.act(s, jnp.zeros(OBS_DIM), key, d), state)
        assert (action.shape, action.dtype) == ((ACTION_DIM,), jnp.float32)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_calls_back_to_the_host(name: str) -> None:
    algorithm, (state, _) = case(name).algorithm, single(name)
    key = jax.random.key(0)
    batch = jax.eval_shape(lambda s: algorithm.sample(s, DATA, key), state)
    programs = [jax.make_jaxpr(lambda s, b: algorithm.update(s, b, key))(state, batch)]
    if algorithm.refresh:
        programs.append(jax.make_jaxpr(lambda s: algorithm.refresh(s, DATA, key))(state))  # type: ignore[misc]
    assert not any("callback" in str(program) for program in programs)


@pytest.mark.parametrize("name", NAMES)
def test_trains_finitely_and_moves_its_state(name: str) -> None:
    state, history = batch_run(name)
    assert len({frozenset(metrics) for metrics in history}) == 1
    for metrics in history:
        for quantity, values in metrics.items():
            assert values.shape == (2,), quantity
            assert np.isfinite(values).all(), quantity
    leaves = [leaf for leaf in jax.tree.leaves(state) if np.issubdtype(leaf.dtype, np.floating)]
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    start = jax.device_get(case(name).start(0, 1))
    moved = [(a != b).any() for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(state), strict=True)]
    assert any(moved)


@pytest.mark.parametrize("name", NAMES)
def test_actions_lie_in_the_box_and_deterministic_ones_repeat(name: str) -> None:
    state, _ = batch_run(name)
    program = case(name).program
    state = program.deploy(state)
    obs = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, OBS_DIM)), jnp.float32)
    for act in (program.act, *program.variants.values()):
        actions = np.asarray(act(state, obs))
        assert actions.shape == (2, 5, ACTION_DIM)
        assert np.abs(actions).max() <= 1
        np.testing.assert_array_equal(actions, act(state, obs))


@pytest.mark.parametrize("name", NAMES)
def test_compiles_once_for_all_periods(name: str) -> None:
    batch_run(name)
    sizes = [getattr(case(name).program.advance, "_cache_size")()]  # noqa: B009, the attribute is private to jax
    state = case(name).start(0, 1)
    case(name).advance(state, (0, 1), 77)
    sizes.append(getattr(case(name).program.advance, "_cache_size")())  # noqa: B009
    assert sizes[0] == sizes[1]
    assert sizes[0] <= 2  # one for two seeds, and one for the seed alone where that test ran before


@pytest.mark.parametrize("name", NAMES)
def test_states_are_donated_whole(name: str) -> None:
    """Every buffer is consumed, none is aliased by another leaf of the state."""
    state = case(name).start(0, 1)
    case(name).advance(state, (0, 1), 0)
    kept = [
        jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(state) if not leaf.is_deleted()
    ]
    assert not kept


@pytest.mark.parametrize("name", NAMES)
def test_seeds_differ(name: str) -> None:
    state, history = batch_run(name)
    assert any(leaf[0].tobytes() != leaf[1].tobytes() for leaf in jax.tree.leaves(state))
    assert any(metrics[quantity][0] != metrics[quantity][1] for metrics in history for quantity in metrics)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_alone_equals_itself_in_a_batch(name: str) -> None:
    """To rounding, after sixteen steps: the draws are the same, the sums are not always added in the same order.

    XLA chooses how to split a matrix product by its shape, and a batch of seeds has another shape than one seed. On CPU
    behavior cloning comes out bit-equal and the actor-critics differ by 1e-7 to 1e-5 of a weight.
    """
    together, _ = batch_run(name)
    alone, _ = case(name).run(1)
    for (path, leaf), own in zip(
        jax.tree_util.tree_leaves_with_path(together), jax.tree.leaves(jax.device_get(alone)), strict=True
    ):
        np.testing.assert_allclose(own[0], leaf[1], rtol=1e-3, atol=1e-4, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_state_goes_on_bit_equal(name: str, tmp_path: Path) -> None:
    seeds, made = (0, 1), case(name)
    state, _ = made.advance(made.start(*seeds), seeds, 0)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    template = jax.eval_shape(lambda: state)
    periods = range(1, 1 + -(-10 // made.program.period))
    for period in periods:
        state, expected = made.advance(state, seeds, period)
    restored = checkpoints.restore(1, template)
    checkpoints.close()
    for period in periods:
        restored, found = made.advance(restored, seeds, period)
    assert {name: value.tobytes() for name, value in expected.items()} == {n: v.tobytes() for n, v in found.items()}
    for one, other in zip(
        jax.tree.leaves(jax.device_get(state)), jax.tree.leaves(jax.device_get(restored)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
