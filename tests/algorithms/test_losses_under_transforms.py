"""Every loss is the same number plain, compiled, and as one of several seeds; its value by hand is in its own file."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import adversarial, conservative, sac, walk
from offline_mbrl.algorithms.parts import cloning as parts_cloning
from offline_mbrl.algorithms.parts.adversarial import AdversarialConfig, Game, GameState
from offline_mbrl.algorithms.parts.reward_model import RewardConfig, RewardRange, reward_losses
from offline_mbrl.algorithms.parts.sac import SAC, SACConfig
from offline_mbrl.algorithms.systems import armor, bc, cql, crop, drop, edac, iql, morel, rambo, td3_bc
from offline_mbrl.algorithms.systems.combo import COMBOConfig, propose
from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian
from offline_mbrl.dynamics.models.gaussian import init_weights
from offline_mbrl.keys import stream
from offline_mbrl.nn.layers import init_layers
from offline_mbrl.types import Array, Key, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = toys.endless(2, 1)
ROWS, SMALL = 6, {"hidden": (4,), "batch_size": 6}
BOUNDS = RewardRange(jnp.array(-1.0), jnp.array(2.0))


def rows(key: Key, *lead: int) -> Transition:
    obs, next_obs = jax.random.normal(stream(key, "obs"), (2, *lead, ROWS, 2))
    action = jax.random.uniform(stream(key, "logged"), (*lead, ROWS, 1), minval=-0.9, maxval=0.9)
    reward = jax.random.normal(stream(key, "reward"), (*lead, ROWS))
    return Transition(obs, action, reward, jnp.ones((*lead, ROWS)), next_obs)


def prediction(key: Key) -> Gaussian:
    mean, log_std = jax.random.normal(key, (2, 3, ROWS, 3))
    return Gaussian(mean, jnp.exp(log_std))


def value(key: Key) -> Array:
    return jax.random.normal(key, (ROWS,))


def system(config: SACConfig) -> SAC:
    return sac.make(PROBLEM, config, 10)


def cloning(key: Key) -> Array:
    mean, log_std = jax.random.normal(key, (2, ROWS, 1))
    return bc.negative_log_likelihood(mean, log_std, rows(key).action)


def bc_actor(key: Key) -> Array:
    clone = bc.make(PROBLEM, bc.BCConfig.model_validate(SMALL | {"policy": "gaussian"}))
    return bc.actor_loss(clone, bc.init(clone, key, toys.data_of(rows(key)), {}).actor.params, rows(key))


def conservative_critic(key: Key) -> Array:
    config = COMBOConfig.model_validate(SMALL | {"action_samples": 2})
    agent, batch = system(config), rows(key)
    learner = sac.init(agent, key)
    proposals = propose(config, agent, learner.actor.params, None, batch, key)
    arguments = batch, value(key), proposals, config.real_rows, jnp.ones(())
    return conservative.critic_loss(config, agent, learner.critic.params, *arguments)[0]


def cloning_actor(key: Key) -> Array:
    agent = system(cql.CQLConfig.model_validate(SMALL))
    learner = sac.init(agent, key)
    cloning, batch = jnp.asarray(True), rows(key)
    arguments = agent, learner.actor.params, learner, batch.obs, key
    return cql.warm_actor_loss(*arguments, logged=batch.action, cloning=cloning)[0]


def td3_parts(key: Key) -> tuple[td3_bc.TD3BC, td3_bc.TD3BCState]:
    td3 = td3_bc.make(PROBLEM, td3_bc.TD3BCConfig.model_validate(SMALL))
    return td3, td3_bc.init(td3, key, toys.data_of(rows(key)), {})


def td3_target(key: Key) -> Array:
    td3, state = td3_parts(key)
    return td3_bc.bellman_target(td3, state, rows(key), key)


def td3_critic(key: Key) -> Array:
    td3, state = td3_parts(key)
    return td3_bc.critic_loss(td3, state.critic.params, rows(key), value(key))[0]


def td3_actor(key: Key) -> Array:
    td3, state = td3_parts(key)
    return td3_bc.actor_loss(td3, state.actor.params, state.critic.params, rows(key))[0]


def iql_parts(key: Key) -> tuple[iql.IQL, iql.IQLState]:
    static = iql.make(PROBLEM, iql.IQLConfig.model_validate(SMALL), 10)
    return static, iql.init(static, key, toys.data_of(rows(key)), {})


def iql_value(key: Key) -> Array:
    static, state = iql_parts(key)
    return iql.value_loss(static, state.value.params, rows(key).obs, value(key))


def iql_actor(key: Key) -> Array:
    static, state = iql_parts(key)
    return iql.actor_loss(static, state.actor.params, rows(key), value(key))


def iql_critic(key: Key) -> Array:
    static, state = iql_parts(key)
    return iql.critic_loss(static, state.critic.params, rows(key), value(key))[0]


def drop_parts(key: Key) -> tuple[drop.DROP, drop.DROPState, drop.DROPBatch]:
    static = drop.make(PROBLEM, drop.DROPConfig.model_validate(SMALL | {"subsets": 2, "search_steps": 1}))
    data = toys.data_of(rows(key), value(key))._replace(is_first=jnp.ones(ROWS, bool))
    state = drop.init(static, key, data, {})
    return static, state, drop.sample(static, state, data, key)


def drop_cloning(key: Key) -> Array:
    static, state, batch = drop_parts(key)
    networks = state.networks.params
    return drop.cloning_loss(static, networks.actor, batch.rows, networks.table[batch.subset])


def drop_outside(key: Key) -> Array:
    static, state, batch = drop_parts(key)
    networks = state.networks.params
    z = jnp.tanh(networks.table)[batch.subset]
    return drop.outside_score(static, networks.critic, networks, batch.rows.obs, z, key)


def drop_loss(key: Key) -> Array:
    static, state, batch = drop_parts(key)
    return drop.loss(static, state.networks.params, state, batch, key)[0]


def armor_adversary(key: Key) -> Array:
    settings = SMALL | {"capacity": 20, "warm_steps": 1, "reference": "none", "model_weight": 0.5}
    static = armor.make(PROBLEM, armor.ARMORConfig.model_validate(settings), 10)
    data, world = toys.data_of(rows(key))._replace(is_first=jnp.ones(ROWS, bool)), armor_world(key)
    state = armor.init(static, key, data, toys.fitted(world))
    batch, critic = armor.sample(static, state, data, key), state.game.learner.critic.params
    measure = armor.pessimism(static, state, batch, -armor.pairs(batch)[1], key)
    return armor.adversary_loss(static, critic, world.weights.layers, state, batch, measure, key)[0]


def armor_world(key: Key) -> Ensemble:
    return toys.linear_world(jax.random.normal(key, (1, 3, 3)), log_std=-1.0)


def crop_actor(key: Key) -> Array:
    config = crop.CROPConfig.model_validate(SMALL | {"critic_hidden": (4,)})
    made = crop.make(PROBLEM, config, 10)
    learner = sac.init(made, key)
    return crop.actor_loss(config, made, learner.actor.params, learner, rows(key).obs, key)[0]


def crop_target(key: Key) -> Array:
    config = crop.CROPConfig.model_validate(SMALL | {"critic_hidden": (4,)})
    made = crop.make(PROBLEM, config, 10)
    return crop.bellman_target(config, made, sac.init(made, key), BOUNDS, rows(key), key)


def crop_reward(key: Key) -> Array:
    config = RewardConfig(hidden=(4,), members=2, elites=2, random_actions=2)
    layers, scaler = init_layers(2, (3, 4, 1), key), toys.identity(3)
    return reward_losses(config, layers, scaler, BOUNDS, rows(key, 2), key)


def rambo_config() -> rambo.RAMBOConfig:
    dynamics = {"members": 3, "elites": 2, "hidden": (4,), "weight_decay": (0.1, 0.1)}
    return rambo.RAMBOConfig.model_validate(SMALL | {"dynamics": dynamics, "adversary_weight": 0.5})


def rambo_adversary(key: Key) -> Array:
    config, batch = rambo_config(), rows(key)
    weights = init_weights(config.dynamics, 2, 1, key)
    world = Ensemble(weights, toys.identity(3), jnp.array([0, 2], jnp.int32))
    score = rambo.Score(batch.obs, batch.action, jax.random.normal(key, (ROWS, 3)), rambo.whiten(value(key)))
    x, y = jax.random.normal(key, (2, 3, ROWS, 3))
    return rambo.adversary_loss(config, weights, world, score, x, y)[0]


def rambo_cloning(key: Key) -> Array:
    made = system(rambo_config())
    return parts_cloning.cloning_loss(made, sac.init(made, key).actor.params, rows(key))


def rambo_advantage(key: Key) -> Array:
    made = system(rambo_config())
    return rambo.advantage(made, sac.init(made, key), rows(key))


def edac_critic(key: Key) -> Array:
    agent = system(edac.EDACConfig.model_validate(SMALL | {"critics": 3}))
    return edac.critic_loss(agent, sac.init(agent, key).critic.params, rows(key), value(key), 0.7)[0]


def game(key: Key) -> tuple[Game, GameState]:
    static = adversarial.make(PROBLEM, AdversarialConfig.model_validate(SMALL | {"warm_steps": 0}), 10)
    return static, adversarial.init(static, key)


def game_adversary(key: Key) -> Array:
    (static, state), batch = game(key), rows(key)
    measure = adversarial.against_logged(static, batch, -batch.action)
    return adversarial.adversary_loss(static, state.learner.critic.params, state, batch, batch.action, measure)[0]


def game_actor(key: Key) -> Array:
    (static, state), batch = game(key), rows(key)
    return adversarial.actor_loss(static, state.learner.actor.params, state, batch.obs, batch.action, key)[0]


def sac_actor(key: Key) -> Array:
    agent = system(SACConfig.model_validate(SMALL))
    state = sac.init(agent, key)
    return sac.actor_loss(agent, state.actor.params, state, rows(key).obs, key)[0]


def first_member(key: Key) -> Gaussian:
    return Gaussian(*(leaf[0] for leaf in prediction(key)))


LOSSES: dict[str, Callable[[Key], Array]] = {
    "armor.adversary_loss": armor_adversary,
    "walk.reward_error": lambda key: walk.reward_error(first_member(key), rows(key)),
    "walk.transition_error": lambda key: walk.transition_error(first_member(key), rows(key)),
    "adversarial.actor_loss": game_actor,
    "adversarial.adversary_loss": game_adversary,
    "bc.actor_loss": bc_actor,
    "bc.negative_log_likelihood": cloning,
    "conservative.critic_loss": conservative_critic,
    "reward_model.reward_losses": crop_reward,
    "cql.warm_actor_loss": cloning_actor,
    "crop.actor_loss": crop_actor,
    "crop.bellman_target": crop_target,
    "crop.temperature_loss": lambda key: crop.temperature_loss(value(key)[0], value(key)[1], -1.0),
    "edac.critic_loss": edac_critic,
    "drop.cloning_loss": drop_cloning,
    "drop.outside_score": drop_outside,
    "drop.loss": drop_loss,
    "iql.actor_loss": iql_actor,
    "iql.critic_loss": iql_critic,
    "iql.value_loss": iql_value,
    "morel.disagreement": lambda key: morel.disagreement(prediction(key), jnp.array([1.0, 2.0])),
    "rambo.advantage": rambo_advantage,
    "rambo.adversary_loss": rambo_adversary,
    "cloning.cloning_loss": rambo_cloning,
    "rambo.mixture_log_density": lambda key: rambo.mixture_log_density(prediction(key), prediction(key).mean[0]),
    "sac.actor_loss": sac_actor,
    "td3_bc.actor_loss": td3_actor,
    "td3_bc.bellman_target": td3_target,
    "td3_bc.critic_loss": td3_critic,
}


@pytest.mark.parametrize("name", list(LOSSES))
def test_compiled_and_over_seeds_it_is_the_same(name: str) -> None:
    loss, keys = LOSSES[name], jax.random.split(jax.random.key(0), 2)
    plain = [loss(key) for key in keys]
    assert float(jnp.abs(plain[0] - plain[1]).max()) > 0
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(keys), jnp.stack(plain), rtol=1e-4, atol=1e-5)


def td_error(y: Array) -> Array:
    return drop.td_error(jnp.zeros((2, ROWS)), y, jnp.ones(ROWS, bool))


def bellman_error(y: Array) -> Array:
    q = jnp.zeros((2, ROWS))
    return adversarial.bellman_error(q, q, y, 0.5)


def critic_of_td3(y: Array) -> Array:
    td3, state = td3_parts(jax.random.key(0))
    return td3_bc.critic_loss(td3, state.critic.params, rows(jax.random.key(0)), y)[0]


def value_of_iql(q: Array) -> Array:
    static, state = iql_parts(jax.random.key(0))
    return iql.value_loss(static, state.value.params, rows(jax.random.key(0)).obs, q)


@pytest.mark.parametrize("loss", [td_error, bellman_error, critic_of_td3, value_of_iql])
def test_a_column_where_a_vector_belongs_is_refused(loss: Callable[[Array], Array]) -> None:
    """It would broadcast to [B, B], and the mean over pairs is a number like any other."""
    assert loss(jnp.zeros(ROWS)).shape in ((), (2,))
    column = jnp.zeros((ROWS, 1))
    with pytest.raises(AssertionError, match="shape"):
        loss(column)
    with pytest.raises(AssertionError, match="shape"):
        jax.jit(jax.vmap(loss))(column[None])
