"""How exactly matrix products are computed."""

from typing import Literal

Precision = Literal["default", "high", "highest"]
"""Precision of float32 matrix products (`jax.default_matmul_precision`): on NVIDIA `default` is TF32."""
