"""Numbers that a command can work with; zero is a number, not an absent one."""

from math import inf

from offline_mbrl.errors import UserError

SEEDS = 2**32
"""Seeds are numbers of 32 bits: 0 .. SEEDS - 1."""

SIDE_BY_SIDE = 4096
"""Seeds of one program at most: more would only be asked for by mistake."""


def in_range(low: float, high: float | None = None, **flags: float | None) -> None:
    """Nothing where each of `flags`, by parameter name, is absent or in [low, high].

    Raises:
      UserError: one is not; the message names its flag.
    """
    for name, value in flags.items():
        if value is not None and not low <= value <= (inf if high is None else high):
            limits = f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"--{name.replace('_', '-')} {value} is out of range; give a number {limits}")
