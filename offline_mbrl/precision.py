"""How exactly networks are computed, by name; `nn.precision` has what each does."""

from typing import Literal

Precision = Literal["default", "high", "highest", "mixed"]
"""The first three are JAX's, of products of float32: `default` is the device's own (TF32 on NVIDIA GPUs, float32 on
CPUs), `highest` is float32. `mixed` stores hidden arrays in 16 bits, bfloat16 where gradients flow and float16 in
rollouts; weights, optimizers, inputs, outputs, losses and sums stay float32."""
