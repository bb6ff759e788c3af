"""Weights and the optimizer that moves them."""

import optax
from flax import struct

from offline_mbrl.nn.networks import Params


class TrainState(struct.PyTreeNode):
    """Weights and the state of the optimizer that moves them."""

    params: Params
    opt_state: optax.OptState

    @classmethod
    def create(cls, params: Params, optimizer: optax.GradientTransformation) -> "TrainState":
        return cls(params=params, opt_state=optimizer.init(params))

    def step(self, grads: Params, optimizer: optax.GradientTransformation) -> "TrainState":
        """One optimizer step along `grads`."""
        updates, opt_state = optimizer.update(grads, self.opt_state, self.params)
        return TrainState(params=optax.apply_updates(self.params, updates), opt_state=opt_state)


def polyak(target: Params, online: Params, tau: float) -> Params:
    """target <- (1 - tau) target + tau online."""
    return optax.incremental_update(online, target, tau)


def cosine_adam(learning_rate: float, steps: int | None) -> optax.GradientTransformation:
    """Adam whose rate falls to 0 as a half cosine over `steps`; a constant rate when `steps` is None."""
    schedule = learning_rate if steps is None else optax.cosine_decay_schedule(learning_rate, steps)
    return optax.adam(schedule)
