"""World models whose members know the closed-form linear system, and may be wrong by a known amount."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.data.synthetic import Coefficients, coefficients
from offline_mbrl.dynamics.ensemble import Ensemble, Gaussian
from offline_mbrl.model_error.world import World, raw_world
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.simulation.termination import never
from offline_mbrl.tasks import get_robot
from offline_mbrl.types import Array

ROBOT = get_robot("halfcheetah")
"""It never falls, so no row is lost."""

SYSTEM = coefficients(ROBOT)


class Members(NamedTuple):
    """N members: the system's mean plus `offset` plus `gain` |a_0|, and a deviation."""

    layers: tuple[Layer, ...]  # only counted
    system: Coefficients
    offset: Array  # [N, d + 1]
    gain: Array  # [N, d + 1]
    std: Array  # [N, d + 1]

    def predict(self, x: Array) -> Gaussian:
        obs, action = x[..., : ROBOT.obs_dim], x[..., ROBOT.obs_dim :]
        system = jax.tree.map(jnp.asarray, self.system)
        after = obs @ system.state.T + action @ system.action.T + system.offset
        cost = system.reward_action_squared * jnp.square(action).sum(axis=-1)
        reward = obs @ system.reward_state + action @ system.reward_action - cost + system.reward_offset
        wrong = self.offset[:, None] + self.gain[:, None] * jnp.abs(action[..., :1])
        mean = jnp.concatenate([reward[..., None], after - obs], axis=-1) + wrong
        return Gaussian(mean, jnp.broadcast_to(self.std[:, None], mean.shape))

    def members(self, index: Array) -> Self:
        return self._replace(
            layers=jax.tree.map(lambda leaf: leaf[index], self.layers),
            offset=self.offset[index],
            gain=self.gain[index],
            std=self.std[index],
        )

    def with_layers(self, layers: tuple[Layer, ...]) -> Self:
        return self._replace(layers=layers)


def true_std() -> np.ndarray[Any, Any]:
    """[d + 1] the system's own noise, the reward's first."""
    return np.concatenate([[SYSTEM.reward_noise_std], SYSTEM.noise_std])


def world(members: int = 3, offset: Any = 0.0, gain: Any = 0.0, std: Any = 0.0) -> World:
    """The system as a model; what is given is broadcast to [members, d + 1]."""
    shape = (members, ROBOT.obs_dim + 1)
    wrong = [jnp.asarray(np.broadcast_to(np.asarray(part, np.float32), shape)) for part in (offset, gain, std)]
    layers = (Layer(jnp.zeros((members, 1, 1)), jnp.zeros((members, 1))),)
    width = ROBOT.obs_dim + ROBOT.action_dim
    inputs = Normalizer(jnp.zeros(width), jnp.ones(width))
    ensemble = Ensemble(Members(layers, SYSTEM, *wrong), inputs, jnp.arange(members, dtype=jnp.int32))
    return raw_world(ensemble, ROBOT.obs_dim, never)
