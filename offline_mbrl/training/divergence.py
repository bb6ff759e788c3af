"""When a seed is given up."""

from dataclasses import dataclass

DIVERGENCE = 1e10
"""A metric beyond this is treated as NaN is: no quantity of these tasks comes near it while training is sound."""


@dataclass(frozen=True)
class Divergence:
    """A seed that was given up: what went wrong and which checkpoint was the last before it."""

    seed: int
    step: int
    quantity: str
    value: str
    last_good: str | None

    def __str__(self) -> str:
        kept = f"last good checkpoint: {self.last_good}" if self.last_good else "no checkpoint before it"
        return f"seed {self.seed} diverged by step {self.step}: {self.quantity} = {self.value}; {kept}"
