"""Policies that a system can be held against: those that ship with the package, and a user's own file."""

from pathlib import Path

import jax
import jax.numpy as jnp

from offline_mbrl.data.builtin.behaviors import load_behaviors
from offline_mbrl.errors import UserError
from offline_mbrl.nn import weights as policies
from offline_mbrl.nn.networks import GaussianActor, Params
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.tasks import ROBOTS
from offline_mbrl.types import Problem

SHIPPED = ("random", "medium", "expert")
"""References that come with the package."""


def shipped_policy(quality: str, problem: Problem) -> Params:
    """A policy of the package for the robot of the problem: the ladder's first, its last (medium), or the expert."""
    robot = next((one for one in ROBOTS.values() if problem_of(one) == problem), None)
    if robot is None:
        raise UserError(f"reference={quality} is a policy of a benchmark robot; name a reference_file for this problem")
    known = load_behaviors(robot)
    return known.actor({"random": 0, "medium": known.medium, "expert": known.expert}[quality])


def load_reference(reference: str, path: Path | None, problem: Problem) -> tuple[GaussianActor, Params]:
    """The actor that is the reference, shipped or in the file at `path`, with its weights.

    Raises:
      UserError: it is not one for this task.
    """
    if reference in SHIPPED:
        weights = shipped_policy(reference, problem)
    elif path is None or not path.is_file():
        raise UserError(f"no reference policy at {path}; name a file of actor weights with reference_file")
    else:
        weights = policies.load(path).actor
    try:
        kernels = [layer["kernel"] for _, layer in sorted(weights["MLP_0"].items())]
        fits = kernels[0].shape[0] == problem.obs_dim and kernels[-1].shape[1] == 2 * problem.action_dim
    except (KeyError, TypeError):
        fits = False
    if not fits:
        raise UserError(f"{path} holds no tanh-Gaussian actor of this task; name another reference_file")
    hidden = tuple(kernel.shape[1] for kernel in kernels[:-1])
    return GaussianActor(hidden, problem.action_dim), jax.tree.map(jnp.asarray, weights)
