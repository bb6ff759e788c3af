"""What an algorithm is: a record of pure functions, closed over its problem and configuration.

The contract, in optax's manner (`optax.adam(lr)` -> `GradientTransformation`), is

    init(key, data, pretrained) -> state             one pytree holds everything that changes
    sample(state, data, key) -> batch                the rows of one update
    update(state, batch, key) -> (state, metrics)    `steps_per_update` gradient steps; metrics are scalars
    refresh(state, data, key) -> (state, metrics)    before every `refresh_every` steps; None where there is none
    act(state, obs, key, deterministic) -> action    one observation; callers vmap
    deploy(state) -> state                           before an evaluation: what acting looks up; None if nothing
    variants                                         other ways of acting on the same state, each scored under its name
    conclude(state) -> state                         when a run is done: what acting and judging do not read, dropped
    value(state, obs, action) -> scalar              the critics' judgment, their minimum; None where there are none
    law(state, obs) -> (mean, log std)               of the policy's Gaussian before its squash; None if deterministic
    samples_ahead                                    `sample` reads nothing that `update` changes, so that the batches
                                                     of many updates may be gathered before the first of them

Every function is pure, has fixed shapes, and works under `vmap` over keys and states with the data unbatched. None
branches on a step counter that a seed holds: under `vmap` a `lax.cond` on it becomes a `select` that runs both sides,
so periodic work belongs in `refresh` or in an inner scan: an actor that moves at every second step of the critics is
one update of two steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from offline_mbrl.algorithms.export import Policies, actor_at
from offline_mbrl.config import Config
from offline_mbrl.keys import indices
from offline_mbrl.pretraining.contract import Pretraining
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition

State = Any
"""The pytree of one algorithm; each file names its own type."""

Batch = Any

Pretrained = Mapping[str, Any]
"""The results of what is fitted before the loop, by name: "dynamics" is the world model."""

Act = Callable[[State, Array, Key, bool], Array]
"""(state, obs [d], key, deterministic) -> action [m]."""


@dataclass(frozen=True)
class Algorithm:
    """The functions of one algorithm; see the module's docstring for the contract."""

    init: Callable[[Key, Data, Pretrained], State]
    sample: Callable[[State, Data, Key], Batch]
    update: Callable[[State, Batch, Key], tuple[State, Metrics]]
    act: Act
    refresh: Callable[[State, Data, Key], tuple[State, Metrics]] | None = None
    refresh_every: int = 1
    steps_per_update: int = 1
    deploy: Callable[[State], State] | None = None
    variants: Mapping[str, Act] = field(default_factory=dict)
    conclude: Callable[[State], State] | None = None
    value: Callable[[State, Array, Array], Array] | None = None
    law: Callable[[State, Array], tuple[Array, Array]] | None = None
    samples_ahead: bool = False


def nothing(problem: Problem, config: Any, steps: int) -> Mapping[str, Pretraining]:
    """Nothing is fitted before the loop."""
    return {}


LEARNERS_ACTOR = actor_at("learner", "actor")
"""Where most systems have their policy."""

ANY_PROBLEM = Problem(1, 1, jnp.isnan)
"""For questions about a configuration that no problem changes."""


@dataclass(frozen=True)
class Definition:
    """How the registry knows an algorithm: every module of `systems` defines one, called `DEFINITION`.

    `build(problem, config, steps)` gives the functions for a run of `steps` gradient steps;
    `pretraining(problem, config, steps)` what is fitted to the data first: the results are handed to `init` by name.
    `policies` finds the policy in a saved state, to be taken away.
    `deviations` lists, one sentence each, what differs from the paper or its official code. `version` is raised when a
    change moves the algorithm's numbers: it enters the identity of every run. `caution` says what the metrics of the
    last period, means over seeds, give reason to doubt: a warning when a run ends. `across_tasks` says that lanes of
    one program may have different data sets: `sample`, `update` and `refresh` read no rows but those that are drawn
    by `sample_indices` or its like, and no leaf of the state is as long as the data. A system claims it, and the
    conformance tests hold it to that.
    """

    name: str
    title: str
    paper: str
    equation: str
    config: type[Config]
    build: Callable[[Problem, Any, int], Algorithm]
    pretraining: Callable[[Problem, Any, int], Mapping[str, Pretraining]] = nothing
    deviations: tuple[str, ...] = ()
    version: int = 1
    caution: Callable[[Mapping[str, float]], str | None] | None = None
    policies: Policies = LEARNERS_ACTOR
    across_tasks: bool = False

    def uses_model(self, config: Config) -> bool:
        """Whether that configuration fits a world model."""
        return "dynamics" in self.pretraining(ANY_PROBLEM, config, 1_000_000)


def own_rows(data: Data) -> tuple[Array | int, Array | int]:
    """The first of the rows that are a lane's own, and their number, which is static where they are all."""
    return (0, data.is_first.shape[0]) if data.own is None else data.own


def sample_indices(data: Data, key: Key, count: int) -> Array:
    """Numbers of `count` of a lane's own rows, uniform with replacement: [count]."""
    first, size = own_rows(data)
    index = indices(key, count, size)
    return index if data.own is None else first + index


def sample_rows(data: Data, key: Key, count: int) -> Transition:
    """`count` of a lane's own rows, uniform with replacement: [count, ...]."""
    index = sample_indices(data, key, count)
    return jax.tree.map(lambda leaf: leaf[index], data.transitions)


def sample_starts(data: Data, key: Key, count: int) -> Array:
    """`count` first observations of a lane's own episodes, uniform with replacement: [count, d]."""
    (first, size), row = own_rows(data), jnp.arange(data.is_first.shape[0])
    started = jnp.cumsum(data.is_first & (row >= first) & (row < first + size))
    number = indices(key, count, jnp.maximum(started[-1], 1))
    return data.transitions.obs[jnp.searchsorted(started, number + 1)]
