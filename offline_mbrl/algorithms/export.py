"""Where a system's saved state has its policy, and what becomes of it as plain arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from offline_mbrl.nn.plain import LOG_STD_BOUNDS, Noise, PlainActor, dense_layers, with_normalizer
from offline_mbrl.types import Problem

SavedState = Mapping[str, Any]
"""One seed's state as it lies on the disk: nested mappings of arrays."""

Policies = Callable[[Problem, Any, SavedState], Mapping[str, PlainActor]]
"""(problem, configuration, state) -> the policy under the name "", or one for each way of acting."""


def actor_at(
    *path: str,
    noise: Noise = "squashed",
    normalizer: str | None = None,
    log_std_bounds: tuple[float, float] = LOG_STD_BOUNDS,
) -> Policies:
    """The policies of systems whose state holds one actor, a `TrainState`, at `path`.

    Args:
      path: names from the state's top on.
      noise: how actions are drawn.
      normalizer: the name of what observations are standardized by before they are acted on.
      log_std_bounds: of the drawn actions.
    """

    def policies(problem: Problem, config: Any, state: SavedState) -> Mapping[str, PlainActor]:
        actor = at(state, *path)["params"]
        layers = dense_layers(actor["MLP_0"])
        if normalizer is not None:
            layers = with_normalizer(layers, **at(state, normalizer))
        log_std = np.asarray(actor["log_std"], np.float32) if noise == "added" else None
        return {"": PlainActor(layers, noise, log_std, log_std_bounds)}

    return policies


def at(state: SavedState, *path: str) -> Any:
    """What lies at `path`; `LookupError` where nothing does."""
    for name in path:
        state = state[name]
    return state
