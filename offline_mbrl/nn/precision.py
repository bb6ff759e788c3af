"""How exactly networks are computed: a policy of products and of stored activations, by name.

The policy is carried by `jax.default_matmul_precision`, which JAX makes part of what it knows a compiled program by:
two policies in one process are two programs. `nn.layers` alone asks what holds.
"""

from contextlib import AbstractContextManager, nullcontext

import jax
import jax.numpy as jnp

IN_JAX = {"default": None, "high": "high", "highest": "highest", "mixed": "BF16_BF16_F32"}
"""What JAX calls each."""

IMAGINED = "F16_F16_F32"
"""What JAX calls `mixed` in rollouts."""

HALVES = {IN_JAX["mixed"]: jnp.bfloat16, IMAGINED: jnp.float16}


def computing(precision: str) -> AbstractContextManager[object]:
    """The policy `precision` for what is traced or called within the block; threads do not inherit it."""
    return jax.default_matmul_precision(IN_JAX[precision])


def imagining() -> AbstractContextManager[object]:
    """Within the block nothing is differentiated, so `mixed` may store float16; other policies are as they were.

    It errs an eighth of bfloat16's, as TF32 does, but gradients can be too small for it, and losses too large.
    """
    return jax.default_matmul_precision(IMAGINED) if _is_mixed() else nullcontext()


def acting() -> AbstractContextManager[object]:
    """How a trained policy acts: in float32 where it was trained in `mixed`, else with the precision of its training.

    So no score depends on how stored activations are rounded.
    """
    return computing("highest") if _is_mixed() else nullcontext()


def hidden_type() -> jnp.dtype:
    """The type in which the policy in force stores hidden arrays."""
    return jnp.dtype(HALVES.get(_in_force(), jnp.float32))


def product_precision() -> jax.lax.Precision | None:
    """What a network's product asks of JAX: None leaves it to the policy in force.

    JAX's names of `mixed` would round products of float32, those of inputs, too: they get the device's own precision.
    """
    return jax.lax.Precision.DEFAULT if _is_mixed() else None


def _is_mixed() -> bool:
    return _in_force() in HALVES


def _in_force() -> str | None:
    name: str | None = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009, jax does not declare it
    return name
