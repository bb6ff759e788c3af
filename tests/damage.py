"""Bits that flip on a disk."""

from pathlib import Path

import numpy as np


def flip_a_bit(path: Path, generator: np.random.Generator) -> None:
    """Flips one bit of the file, anywhere."""
    content = bytearray(path.read_bytes())
    place = int(generator.integers(8 * len(content)))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
