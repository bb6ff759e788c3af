"""What one seed's functions give, as shapes and as programs: traced once, nothing is computed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from offline_mbrl.conformance.case import Case
from offline_mbrl.conformance.data import DATA, PROBLEM

Shapes = Any
"""A tree of `jax.ShapeDtypeStruct`."""


class Traces(NamedTuple):
    """The trees that go in and out, and the text of every program of the hot loop."""

    state: Shapes
    states: dict[str, Shapes]  # as each function that gives a state gives it
    metrics: dict[str, dict[str, Shapes]]  # likewise
    actions: dict[str, Shapes]  # for each way of acting, deterministic and sampled
    programs: dict[str, str]
    sampled: set[str]  # paths of the state's leaves that `sample` reads
    kept: set[str]  # paths of those that `update` hands on as it found them


def trace(case: Case) -> Traces:
    """Traces `init`, `sample`, `update`, `refresh`, `deploy` and every way of acting."""
    algorithm, key = case.algorithm, jax.random.key(0)
    models = jax.tree.map(lambda leaf: leaf[0], case.models(0))
    state = jax.eval_shape(lambda models: algorithm.init(key, DATA, models), models)

    def step(state: Any) -> Any:
        return algorithm.update(state, algorithm.sample(state, DATA, key), key)

    def refresh(state: Any) -> Any:
        return algorithm.refresh(state, DATA, key) if algorithm.refresh else (state, {})

    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    sampling = jax.make_jaxpr(lambda state: algorithm.sample(state, DATA, key))(state).jaxpr
    batch = jax.eval_shape(lambda state: algorithm.sample(state, DATA, key), state)
    updating = jax.make_jaxpr(lambda state, batch: algorithm.update(state, batch, key)[0])(state, batch).jaxpr
    read = {id(variable) for equation in sampling.eqns for variable in equation.invars}
    read |= {id(variable) for variable in sampling.outvars}
    loop = {"update": jax.make_jaxpr(step, return_shape=True)(state)}
    loop["refresh"] = jax.make_jaxpr(refresh, return_shape=True)(state)
    deployed = {"deploy": jax.eval_shape(algorithm.deploy, state)} if algorithm.deploy else {}
    return Traces(
        state=state,
        states={name: shape[0] for name, (_, shape) in loop.items()} | deployed,
        metrics={name: shape[1] for name, (_, shape) in loop.items()},
        actions={
            f"{name} deterministic={flag}": jax.eval_shape(
                lambda state, act=act, flag=flag: act(state, jnp.zeros(PROBLEM.obs_dim), key, flag), state
            )
            for name, act in {"act": algorithm.act, **algorithm.variants}.items()
            for flag in (True, False)
        },
        programs={name: str(program) for name, (program, _) in loop.items()},
        sampled={path for path, variable in zip(paths, sampling.invars, strict=True) if id(variable) in read},
        kept={
            path
            for path, before, after in zip(paths, updating.invars, updating.outvars, strict=False)
            if before is after
        },
    )
