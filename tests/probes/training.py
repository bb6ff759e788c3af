"""Trains an algorithm on a problem, with all values of one setting and all seeds in one program, and scores it.

Compiling takes seconds and running these small networks a tenth of one. So a number that is varied is traced: the
configuration gets its value where the program is built, and what the program would hold as a constant is an argument.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, State
from offline_mbrl.algorithms.registry import get_definition
from offline_mbrl.config import Config
from offline_mbrl.conformance.small import Settings, configure
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.dynamics.fit import Fit
from offline_mbrl.keys import stream
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.training.loop import advance_seed
from offline_mbrl.types import Array, Data, Key, Metrics, Problem
from tests.probes.problems import MEMBERS, UNITS, Numbers, Probe, mean_reward, standardized

PERIOD = 500

COMMON: Settings = {
    "hidden": (32, 32),
    "critic_hidden": (32, 32),
    "batch_size": 64,
    "discount": 0.9,
    "tau": 0.05,
    "actor_lr": 2e-3,
    "critic_lr": 2e-3,
    "value_lr": 2e-3,
    "learning_rate": 2e-3,
    "fast_lr": 2e-3,
    "slow_lr": 2e-3,
    "actor_lr_decay": False,
    "temperature": 0.02,
    "rollout_batch": 200,
    "rollout_every": 100,
    "horizon": 3,
    "next_samples": 2,
    "action_samples": 4,
    "dynamics": {"members": MEMBERS, "elites": MEMBERS, "hidden": (UNITS,), "weight_decay": (0.0, 0.0)},
}
"""Settings by field name for all algorithms."""

AnyConfig = TypeVar("AnyConfig", bound=Config)


class Outcome(NamedTuple):
    """What a run reached."""

    reward: Numbers  # [seeds] a step, of the deterministic policy under the truth
    metrics: dict[str, Numbers]  # [seeds], means over the last period


def changed(config: AnyConfig, name: str, value: Any) -> AnyConfig:
    """`config` with another value of the setting at a dotted `name`; unchecked, so that it may be traced."""
    first, _, rest = name.partition(".")
    return config.model_copy(update={first: changed(getattr(config, first), rest, value) if rest else value})


def solve(
    name: str,
    own: Settings,
    probes: Sequence[Probe],
    steps: int = 1500,
    seeds: int = 3,
    setting: str = "",
    values: Sequence[float] = (0.0,),
) -> list[list[Outcome]]:
    """Trains the algorithm called `name` on each of `probes`, which must have equally many action dimensions.

    Args:
      name: of the algorithm.
      own: its settings, over `COMMON`.
      probes: the problems.
      steps: gradient steps, a multiple of `PERIOD`.
      seeds: how many, from 0.
      setting: a number that no Python branch of the algorithm reads; nothing is varied when empty.
      values: of that setting, all trained side by side.

    Returns:
      For each problem the outcomes of all values.
    """
    definition = get_definition(name)
    config = configure(definition, COMMON, own)
    problem = Problem(1, probes[0].data.transitions.action.shape[1], lambda obs: jnp.zeros(obs.shape[:-1], bool))

    def build(value: Array) -> Algorithm:
        return definition.build(problem, changed(config, setting, value) if setting else config, steps)

    def train(value: Array, key: Key, data: Data, ensemble: Ensemble | None) -> tuple[State, Metrics]:
        settings = changed(config, setting, value) if setting else config
        return run(
            build(value), steps, key, data, pretrained(definition, problem, settings, steps, key, data, ensemble)
        )

    def act(value: Array, state: State, obs: Array) -> Array:
        return build(value).act(state, obs, jax.random.key(0), True)

    of_seeds = jax.vmap(train, in_axes=(None, 0, None, None))
    train_all = jax.jit(jax.vmap(of_seeds, in_axes=(0, None, None, None)))
    act_all = jax.jit(jax.vmap(jax.vmap(jax.vmap(act, in_axes=(None, None, 0)), in_axes=(None, 0, 0))))
    numbers, keys = jnp.asarray(values, jnp.float32), jax.vmap(jax.random.key)(jnp.arange(seeds))

    def outcomes(probe: Probe) -> list[Outcome]:
        state, metrics = train_all(numbers, keys, probe.data, model_of(definition, config, probe))

        def policy(obs: Numbers) -> Numbers:
            every = np.broadcast_to(obs, (len(values), seeds, obs.shape[-1]))
            return np.asarray(act_all(numbers, state, jnp.asarray(every[..., None], jnp.float32)))

        reward, shown = mean_reward(probe, policy), jax.tree.map(np.asarray, metrics)
        return [Outcome(reward[i], {name: found[i] for name, found in shown.items()}) for i in range(len(values))]

    return [outcomes(probe) for probe in probes]


def pretrained(
    definition: Definition,
    problem: Problem,
    config: Config,
    steps: int,
    key: Key,
    data: Data,
    ensemble: Ensemble | None,
) -> Pretrained:
    """One seed's fits, traced as the rest is: the probe's own world, and everything else fitted to its data."""
    fits = definition.pretraining(problem, config, steps)
    results = {name: fit_inside(pretraining, data, key) for name, pretraining in fits.items() if name != "dynamics"}
    if ensemble is None:
        return results
    return {**results, "dynamics": Fit(ensemble, jnp.zeros(MEMBERS), jnp.zeros((), jnp.int32))}


def fit_inside(pretraining: Pretraining, data: Data, key: Key) -> Any:
    """A fit as a loop within the program."""
    for name in pretraining.streams[1:]:
        key = stream(key, name)
    rows = pretraining.prepare(data)
    fixed, state = pretraining.start(key, rows)
    return pretraining.finish(
        fixed, jax.lax.while_loop(pretraining.active, lambda state: pretraining.epoch(fixed, state, rows, key), state)
    )


def run(algorithm: Algorithm, steps: int, key: Key, data: Data, fits: Pretrained) -> tuple[State, Metrics]:
    """One seed from its first step to the state that acts, and the metrics of its last period."""
    block = algorithm.refresh_every if algorithm.refresh else PERIOD
    advance = partial(advance_seed, algorithm, PERIOD, block)

    def period(state: State, start: Array) -> tuple[State, Metrics]:
        return advance(state, data, key, start)

    state, metrics = jax.lax.scan(period, algorithm.init(key, data, fits), jnp.arange(0, steps, PERIOD))
    deployed = algorithm.deploy(state) if algorithm.deploy else state
    return deployed, jax.tree.map(lambda leaf: leaf[-1], metrics)


def model_of(definition: Definition, config: Config, probe: Probe) -> Ensemble | None:
    """The probe's ensemble as the algorithm wants it: none, of observations as they are, or of z-scored ones."""
    if not definition.uses_model(config) or probe.ensemble is None:
        return None
    wanted = getattr(config, "dynamics")  # noqa: B009, each system has a configuration of its own type
    observations = Normalizer.fit(probe.data.transitions.obs)
    return standardized(probe.ensemble, observations) if wanted.standardize else probe.ensemble
