"""The settings that every kind of world model has, and how a kind is known."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from offline_mbrl.config import Config, Width
from offline_mbrl.pretraining.contract import Pretraining


class EnsembleConfig(Config):
    """Shape and stopping rule of an ensemble; each kind in `dynamics/models` adds its own."""

    kind: str = Field(description="the kind of network that a member is")
    members: int = Field(7, ge=1, description="networks trained, N")
    elites: int = Field(5, ge=1, description="members kept for sampling, those with the lowest holdout error")
    hidden: tuple[Width, ...] = Field((200, 200, 200, 200), description="widths of a member's hidden layers")
    learning_rate: float = Field(1e-3, gt=0, description="Adam rate, one optimizer for all members")
    batch_size: int = Field(256, ge=1, description="rows of one step, per member")
    weight_decay: tuple[float, ...] = Field(
        (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4), description="coupled L2 of each layer's weights, output layer last"
    )
    holdout_ratio: float = Field(0.2, gt=0, lt=1, description="share of rows held out")
    holdout_max: int = Field(1000, ge=1, description="most rows held out")
    improvement: float = Field(0.01, ge=0, description="relative fall of a member's holdout error that counts")
    patience: int = Field(5, ge=1, description="epochs without any member improving after which the fit stops")
    max_epochs: int | None = Field(None, ge=1, description="cap on the epochs; none when absent")
    standardize: bool = Field(False, description="fit on z-scored observations: the model then lives in that space")

    @model_validator(mode="after")
    def _sizes_fit(self) -> "EnsembleConfig":
        if self.elites > self.members:
            raise ValueError(f"{self.elites} elites of {self.members} members; ask for fewer elites")
        if len(self.weight_decay) != len(self.hidden) + 1:
            raise ValueError(
                f"weight_decay has {len(self.weight_decay)} values for {len(self.hidden)} hidden layers; give one for "
                "each layer, the output's last"
            )
        return self


class ModelDefinition(NamedTuple):
    """How `dynamics/registry.py` knows a kind: each module of `dynamics/models` has one, called MODEL."""

    kind: str
    config: type[EnsembleConfig]
    pretraining: Callable[[Any, int, int], Pretraining]
    """(configuration, observation dimensions, action dimensions) -> its fit."""
