"""Policies as plain arrays: NumPy in, NumPy out, and files of them that need nothing but NumPy to be read."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline_mbrl.errors import UserError
from offline_mbrl.storage.files import write_atomically

Floats = NDArray[np.float32]
Noise = Literal["none", "squashed", "added"]

FORMAT = "offline-mbrl policy 1"
LOG_STD_BOUNDS = (-5.0, 2.0)


class Dense(NamedTuple):
    """One linear layer."""

    kernel: Floats  # [inputs, outputs]
    bias: Floats  # [outputs]


@dataclass(frozen=True)
class PlainActor:
    """a = tanh(m(s)), m an MLP with ReLU; and how actions are drawn around it.

    noise: "none"; "squashed", a = tanh(m + sigma e), where the last layer gives m and log sigma; "added",
      a = clip(tanh(m) + sigma e), with one log sigma for all observations.
    """

    layers: tuple[Dense, ...]
    noise: Noise = "none"
    log_std: Floats | None = None  # [m], of added noise
    log_std_bounds: tuple[float, float] = LOG_STD_BOUNDS

    @property
    def obs_dim(self) -> int:
        return int(self.layers[0].kernel.shape[0])

    @property
    def action_dim(self) -> int:
        return int(self.layers[-1].bias.size) // (2 if self.noise == "squashed" else 1)

    def act(self, obs: Floats, generator: np.random.Generator | None = None) -> Floats:
        """Actions [..., m] of observations [..., d]: the mean, or draws from `generator`."""
        output = forward(self.layers, obs)
        mean = output[..., : self.action_dim]
        if generator is None or self.noise == "none":
            return np.tanh(mean)
        noise = generator.standard_normal(mean.shape, np.float32)
        if self.noise == "squashed":
            log_std = np.clip(output[..., self.action_dim :], *self.log_std_bounds)
            return np.tanh(mean + np.exp(log_std) * noise)
        std = np.exp(np.clip(np.asarray(self.log_std, np.float32), *self.log_std_bounds))
        return np.clip(np.tanh(mean) + std * noise, -1, 1)


def forward(layers: Sequence[Dense], x: Floats) -> Floats:
    """The MLP's raw output [..., o] of inputs [..., i]."""
    for kernel, bias in layers[:-1]:
        x = np.maximum(x @ kernel + bias, 0)
    return x @ layers[-1].kernel + layers[-1].bias


def dense_layers(params: Mapping[str, Any]) -> tuple[Dense, ...]:
    """The layers of a saved `MLP`: `Dense_0`, `Dense_1`, ..."""
    names = sorted((name for name in params if name.startswith("Dense_")), key=lambda name: int(name[6:]))
    return tuple(Dense(*(np.asarray(params[name][part], np.float32) for part in Dense._fields)) for name in names)


def with_normalizer(layers: Sequence[Dense], mean: ArrayLike, std: ArrayLike) -> tuple[Dense, ...]:
    """Layers that take raw observations, where these take (x - mean) / std: ((x - mean) / std) W + b = x W' + b'."""
    kernel, bias = (np.asarray(part, np.float64) for part in layers[0])
    kernel = kernel / np.asarray(std, np.float64)[:, None]
    bias = bias - np.asarray(mean, np.float64) @ kernel
    return (Dense(kernel.astype(np.float32), bias.astype(np.float32)), *layers[1:])


def with_context(layers: Sequence[Dense], context: ArrayLike) -> tuple[Dense, ...]:
    """Layers that take x, where these take [x, context]: [x, z] W + b = x W_x + (b + z W_z)."""
    kernel, bias = (np.asarray(part, np.float64) for part in layers[0])
    z = np.asarray(context, np.float64)
    width = kernel.shape[0] - z.size
    first = Dense(kernel[:width].astype(np.float32), (bias + z @ kernel[width:]).astype(np.float32))
    return (first, *layers[1:])


@dataclass
class Policy:
    """A policy to take away: call it with observations [d] or [B, d] for actions of the same number of axes."""

    actor: PlainActor
    about: Mapping[str, Any] = field(default_factory=dict)
    """What it is: task, algorithm, seed, data, ..."""
    generator: np.random.Generator | None = None
    """Draws actions; their mean is taken when None."""

    def __call__(self, obs: ArrayLike) -> Floats:
        rows = np.asarray(obs, np.float32)
        if rows.shape[-1:] != (self.actor.obs_dim,):
            raise UserError(f"observations have shape {rows.shape}; this policy takes {self.actor.obs_dim} numbers")
        return self.actor.act(rows, self.generator)

    def save(self, path: Path) -> Path:
        """Writes it as an .npz without pickles, and returns the path."""
        arrays = {
            f"{part}_{number}": value
            for number, layer in enumerate(self.actor.layers)
            for part, value in layer._asdict().items()
        }
        if self.actor.log_std is not None:
            arrays["log_std"] = self.actor.log_std
        head = {"format": FORMAT, "noise": self.actor.noise, "log_std_bounds": self.actor.log_std_bounds}
        text = json.dumps(head | {"about": dict(self.about)})
        with write_atomically(path) as file:
            np.savez(file, head=np.frombuffer(text.encode(), np.uint8), **arrays)
        return path


def read_policy_file(path: Path, generator: np.random.Generator | None = None) -> Policy:
    """The policy that `Policy.save` wrote.

    Raises:
      UserError: it is no such file, or is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            if head.get("format") != FORMAT:
                raise UserError(f"{path} is no policy of this format ({head.get('format')}); export it anew")
            count = sum(name.startswith("kernel_") for name in arrays.files)
            layers = tuple(Dense(arrays[f"kernel_{n}"], arrays[f"bias_{n}"]) for n in range(count))
            log_std = arrays["log_std"] if "log_std" in arrays.files else None
            bounds = tuple(head["log_std_bounds"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, AttributeError, EOFError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise UserError(
            f"cannot read a policy from {path} ({reason}); `offline-mbrl export RUN --policy` writes one"
        ) from error
    return Policy(PlainActor(layers, head["noise"], log_std, bounds), head["about"], generator)
