"""A system from outside the package: cloning in which the rows of better episodes count more.

    min_f  mean_b w_b |tanh f(s_b) - a_b|^2 / mean_b w_b,    w = exp((R - max R) / (tau std R)),

where R is the return of the episode that a row belongs to. A system is a configuration, pure functions, and a
`DEFINITION`. A package names that under the entry point group `offline_mbrl.algorithms`; a script registers it.

    python examples/new_system.py
"""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from pydantic import Field

import offline_mbrl as om
from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained
from offline_mbrl.config import Config
from offline_mbrl.keys import indices
from offline_mbrl.nn.networks import DeterministicActor, Params, apply, init_params
from offline_mbrl.nn.train_state import TrainState
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class WeightedBCConfig(Config):
    """Hyper-parameters: each has a range and a description, which the command line shows."""

    temperature: float = Field(0.5, gt=0, description="tau, in standard deviations of the episodes' returns")
    hidden: tuple[int, ...] = Field((256, 256), description="widths of the hidden layers")
    learning_rate: float = Field(3e-4, gt=0, description="Adam rate")
    batch_size: int = Field(256, ge=1, description="rows of one gradient step")


class WeightedBCState(struct.PyTreeNode):
    """Everything that changes while it trains, and what each row counts."""

    actor: TrainState
    weight: Array  # [n]


class Batch(struct.PyTreeNode):
    """The rows of one gradient step."""

    rows: Transition  # leading axis [b]
    weight: Array  # [b]


def row_weights(episode_return: Array, temperature: float) -> Array:
    """w = exp((R - max R) / (tau std R)) for the returns [n] of the rows' episodes; 1 for rows of the best one."""
    return jnp.exp((episode_return - episode_return.max()) / (temperature * episode_return.std() + 1e-6))


def weighted_error(prediction: Array, action: Array, weight: Array) -> Array:
    """sum_b w_b mean_k (prediction_bk - action_bk)^2 / sum_b w_b for predictions and actions [b, m], weights [b]."""
    return (weight * jnp.square(prediction - action).mean(axis=-1)).sum() / weight.sum()


def build(problem: Problem, config: WeightedBCConfig, steps: int) -> Algorithm:
    """The functions of a run; each is pure and works under `vmap` over seeds."""
    module = DeterministicActor(config.hidden, problem.action_dim)
    optimizer = optax.adam(config.learning_rate)

    def init(key: Key, data: Data, pretrained: Pretrained) -> WeightedBCState:
        actor = TrainState.create(init_params(module, key, problem.obs_dim), optimizer)
        return WeightedBCState(actor, row_weights(data.episode_return, config.temperature))

    def sample(state: WeightedBCState, data: Data, key: Key) -> Batch:
        index = indices(key, config.batch_size, state.weight.shape[0])
        return Batch(jax.tree.map(lambda leaf: leaf[index], data.transitions), state.weight[index])

    def loss(params: Params, batch: Batch) -> Array:
        return weighted_error(apply(module, params, batch.rows.obs), batch.rows.action, batch.weight)

    def update(state: WeightedBCState, batch: Batch, key: Key) -> tuple[WeightedBCState, Metrics]:
        value, grads = jax.value_and_grad(loss)(state.actor.params, batch)
        return state.replace(actor=state.actor.step(grads, optimizer)), {"actor_loss": value}

    def act(state: WeightedBCState, obs: Array, key: Key, deterministic: bool) -> Array:
        action: Array = apply(module, state.actor.params, obs)
        return action

    return Algorithm(init, sample, update, act)


DEFINITION = Definition(
    name="weighted_bc",
    title="Return-weighted Behavior Cloning",
    paper="an example; compare reward-weighted regression, Peters & Schaal 2007",
    equation="min_f mean w(R) |tanh f(s) - a|^2,  w = exp((R - max R) / (tau std R))",
    config=WeightedBCConfig,
    build=build,
)


def main() -> None:
    """Trains it beside plain cloning on data in which few episodes are good."""
    om.register(DEFINITION)
    data = om.load("hopper-medium-replay", size=5_000)
    for name in ("bc", "weighted_bc"):
        system = om.make(name, data.task, steps=1_000, hidden=(64, 64), learning_rate=1e-3)
        run = om.train(system, data, seeds=[0, 1], evaluate_every=500)
        print(f"{name}: {om.evaluate(run, episodes=5).scores.mean():.1f}")


if __name__ == "__main__":
    main()
