"""Plays a run's policies at every point of a protocol: seeds x points x episodes are the rows of one simulator."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline_mbrl.algorithms.algorithm import Algorithm, State
from offline_mbrl.keys import stream
from offline_mbrl.robustness.attacks import ATTACKS, AttackName, compile_attack
from offline_mbrl.robustness.physics import UNCHANGED, changed_model
from offline_mbrl.robustness.protocol import Point, Protocol, batches
from offline_mbrl.robustness.sensors import SENSORS, Floats, SensorName, make_sensors
from offline_mbrl.simulation.evaluate import evaluate, reset_seeds
from offline_mbrl.simulation.physics import load_model
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import Physics, Robot
from offline_mbrl.training.loop import BatchedAct

Record = dict[str, Any]

MOST_ROWS = 1000
"""Robots stepped side by side: more would not be faster, and what is done is recorded batch by batch."""

Play = Callable[[Floats], ArrayLike]
"""Observations [S, P, E, d] of one control step -> actions [S, P, E, m]."""


@dataclass(frozen=True)
class Policies:
    """The trained policies of one system, a lane for each seed, and what judges them."""

    algorithm: Algorithm
    act: BatchedAct
    state: State  # [S] deployed
    seeds: Sequence[int]
    step: int  # gradient steps behind them; it enters the episodes' starts
    robot: Robot
    physics: Physics
    std: Floats  # [d] of the data's observations: the unit of noise and of attacks


def measure(policies: Policies, protocol: Protocol, done: frozenset[str] = frozenset()) -> Iterator[list[Record]]:
    """The records of all points whose label is not among `done`, batch by batch: one for each point and seed."""
    at_once = max(1, MOST_ROWS // (len(policies.seeds) * protocol.episodes))
    for batch in batches(protocol):
        left = [point for point in batch if protocol.label(point) not in done]
        for first in range(0, len(left), at_once):
            yield measure_batch(policies, protocol, left[first : first + at_once])


def count_points(protocol: Protocol) -> int:
    """How many points a protocol has."""
    return sum(map(len, batches(protocol)))


def measure_batch(policies: Policies, protocol: Protocol, points: Sequence[Point]) -> list[Record]:
    """The records of points that can be played side by side."""
    returns = play(policies, protocol, points)
    return [
        _record(policies, protocol, point, seed, row)
        for seed, lane in zip(policies.seeds, returns, strict=True)
        for point, row in zip(points, lane, strict=True)
    ]


def play(policies: Policies, protocol: Protocol, points: Sequence[Point]) -> NDArray[np.float64]:
    """[S, P, E] undiscounted returns.

    Starts are those of the run's own evaluation at its step, the same at every point.
    """
    starts = reset_seeds(policies.seeds, policies.step, protocol.episodes)[:, None].repeat(len(points), axis=1)
    models = [_model(policies, protocol, point) for point in points]
    rows = [model for _ in policies.seeds for model in models for _ in range(protocol.episodes)]
    simulator = Simulator(policies.robot, starts.size, policies.physics, model=rows)
    return evaluate(_player(policies, protocol, points), simulator, starts).returns


def act_at_points(policies: Policies, obs: Floats) -> NDArray[np.float32]:
    """The policies' actions at [S, P, E, d], a call for each point.

    So every call has the shape of the run's own evaluation, whose bits it then gives.
    """
    actions = [policies.act(policies.state, jnp.asarray(obs[:, point])) for point in range(obs.shape[1])]
    return np.stack([np.asarray(action, np.float32) for action in actions], axis=1)


def _model(policies: Policies, protocol: Protocol, point: Point) -> Any:
    if point.change == UNCHANGED:
        return load_model(policies.robot, policies.physics)
    return changed_model(policies.robot, policies.physics, point.change, protocol.scope)


def _player(policies: Policies, protocol: Protocol, points: Sequence[Point]) -> Play:
    """The policies behind what stands between them and the world, for one batch of episodes."""
    kind, act = points[0].kind, partial(act_at_points, policies)
    if kind in ATTACKS:
        name: AttackName = kind
        return _attacked(policies, act, name, protocol, points)
    if kind in SENSORS:
        sensor: SensorName = kind
        see, do = make_sensors(sensor, policies.seeds, policies.std)
        return lambda obs: do(act(see(obs)))
    return act


def _attacked(policies: Policies, act: Play, name: AttackName, protocol: Protocol, points: Sequence[Point]) -> Play:
    """The policies shown what the attack makes of every observation, that of the start included."""
    attack = compile_attack(policies.algorithm, name, protocol.draws)
    budgets = jnp.asarray(np.outer([point.epsilon for point in points], policies.std), jnp.float32)
    episodes = jnp.arange(protocol.episodes)
    base = jax.vmap(lambda seed: stream(jax.random.key(seed), "attack"))(jnp.asarray(policies.seeds, jnp.uint32))
    step = 0

    @jax.jit
    def keys(step: jax.Array) -> jax.Array:
        """[S, E], the same for all budgets."""
        now = jax.vmap(jax.random.fold_in, in_axes=(0, None))(base, step)
        each = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
        return jax.vmap(each, in_axes=(0, None))(now, episodes)

    def shown(obs: Floats) -> ArrayLike:
        nonlocal step
        seen = attack(policies.state, jnp.asarray(obs), budgets, keys(jnp.asarray(step)))
        step += 1
        return act(np.asarray(seen))

    return shown


def _record(policies: Policies, protocol: Protocol, point: Point, seed: int, returns: NDArray[np.float64]) -> Record:
    return {
        "seed": seed,
        "step": policies.step,
        "variant": protocol.label(point),
        "kind": point.kind,
        **dict(point.values),
        "returns": returns,
        "score": policies.robot.normalized_score(returns).mean(),
    }
