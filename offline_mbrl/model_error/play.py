"""True trajectories from states of the data, and the actions that made them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offline_mbrl.data.dataset import Dataset
from offline_mbrl.model_error.truth import Truth
from offline_mbrl.simulation.rules import Bools, Floats

Rows = NDArray[np.integer]

NumPyPolicy = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""Observations [B, d] -> actions [B, m]."""


class Plan(NamedTuple):
    """How rows are acted on: step and true observations [B, d] -> actions [B, m], and which rows have one."""

    action: Callable[[int, NDArray[np.float32]], NDArray[np.floating]]
    present: Bools  # [h, B]


class Played(NamedTuple):
    """What happened in h steps of B rows."""

    obs: Floats  # [h + 1, B, d] the true observations, the starts first
    action: NDArray[np.float32]  # [h, B, m]
    reward: Floats  # [h, B]
    terminated: Bools  # [h, B]
    alive: Bools  # [h, B] the row had an action and had not ended before the step


def play(truth: Truth, starts: NDArray[np.floating], plan: Plan) -> Played:
    """The true system from `starts` [B, d] under `plan`; rows that have ended are stepped on and marked."""
    truth.start(np.asarray(starts, np.float64))
    obs, alive, steps = np.asarray(starts, np.float64), np.ones(len(starts), np.bool_), []
    seen = [obs]
    for number, present in enumerate(plan.present):
        action = np.asarray(plan.action(number, obs.astype(np.float32)), np.float32)
        step, alive = truth.step(action), alive & present
        steps.append((action, step.reward, step.terminated, alive))
        obs, alive = step.obs, alive & ~step.terminated
        seen.append(obs)
    return Played(np.stack(seen), *(np.stack(column) for column in zip(*steps, strict=True)))


def data_plan(dataset: Dataset, rows: Rows, horizon: int) -> Plan:
    """The actions that the data took from `rows` [B] on, as far as their episodes go."""
    last = np.repeat(np.flatnonzero(dataset.ends), dataset.episodes.lengths)[rows]
    index = rows + np.arange(horizon)[:, None]
    present = index <= last
    actions = dataset.actions[np.minimum(index, last)]
    return Plan(lambda step, obs: actions[step], present)


def random_plan(rows: int, action_dim: int, horizon: int, seed: int) -> Plan:
    """Actions uniform in [-1, 1]."""
    actions = np.random.default_rng(seed).uniform(-1, 1, (horizon, rows, action_dim))
    return Plan(lambda step, obs: actions[step], np.ones((horizon, rows), np.bool_))


def policy_plan(policy: NumPyPolicy, rows: int, horizon: int) -> Plan:
    """What `policy` does in the true states that it reaches."""
    return Plan(lambda step, obs: policy(obs), np.ones((horizon, rows), np.bool_))
