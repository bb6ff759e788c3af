"""How many operations the inner loops are made of: a bound, so that nobody adds twenty kernels by accident.

Each operation is a kernel or a part of one. Compiled for an H200, MOPO's update is 74 kernels and the ensemble's step
47 at one seed (`benchmarks/gpu_kernels.py`). A change that needs more raises the bound here and says what it buys.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from offline_mbrl.algorithms.systems import mopo
from offline_mbrl.algorithms.systems.mopo import MOPOConfig
from offline_mbrl.dynamics.models.gaussian import GaussianConfig, make_pretraining
from offline_mbrl.pretraining.fit import untrained
from offline_mbrl.simulation.termination import problem_of
from offline_mbrl.tasks import get_task
from offline_mbrl.training.loop import advance_seed
from offline_mbrl.types import Data, Transition

pytestmark = pytest.mark.medium

MOPO_UPDATE, ENSEMBLE_EPOCH = 930, 495
"""Bounds, a percent above what there is."""

PROBLEM = problem_of(get_task("hopper-medium").robot)
FIT = make_pretraining(GaussianConfig(), PROBLEM.obs_dim, PROBLEM.action_dim)
FREE = ("constant", "broadcast_in_dim", "reshape", "convert", "return", "iota")
"""What costs nothing, or is part of the operation that reads it."""


def operations(function: Callable[..., Any], *shapes: Any) -> int:
    """The operations of a program that are not free, each loop's body once."""
    text = jax.jit(function).lower(*shapes).as_text()
    kinds = [line.split("stablehlo.", 1)[1].split(" ", 1)[0] for line in text.splitlines() if " = stablehlo." in line]
    return sum(kind.strip('"').split("(")[0] not in FREE for kind in kinds)


def data_shapes(rows: int) -> Data:
    def array(*shape: int, kind: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, kind)

    obs, action, bools = array(rows, PROBLEM.obs_dim), array(rows, PROBLEM.action_dim), array(rows, kind=jnp.bool_)
    return Data(Transition(obs, action, array(rows), array(rows), obs), array(rows), bools, bools)  # type: ignore[arg-type]


KEY = jax.eval_shape(lambda: jax.random.key(0))
DATA = data_shapes(10_000)


def test_mopos_update_keeps_its_size() -> None:
    algorithm = mopo.build(PROBLEM, MOPOConfig(), 1000)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    fits = jax.eval_shape(lambda keys, data: jax.tree.map(lambda x: x[0], untrained(FIT, data, keys)), keys, DATA)
    state = jax.eval_shape(algorithm.init, KEY, DATA, {"dynamics": fits})
    inner = partial(advance_seed, replace(algorithm, refresh=None), 1000, 1000)
    assert 0 < operations(inner, state, DATA, KEY, 0) <= MOPO_UPDATE


def test_the_fits_epoch_keeps_its_size() -> None:
    fixed, state = jax.eval_shape(FIT.start, KEY, DATA)
    assert 0 < operations(FIT.epoch, fixed, state, DATA, KEY) <= ENSEMBLE_EPOCH


def test_the_count_sees_what_is_added() -> None:
    def plain(x: jax.Array) -> jax.Array:
        return jnp.sin(x)

    def longer(x: jax.Array) -> jax.Array:
        return jnp.cos(jnp.sin(x))

    x = jax.ShapeDtypeStruct((3,), jnp.float32)
    assert (operations(plain, x), operations(longer, x)) == (1, 2)
