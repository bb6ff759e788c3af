"""Reads films back, in a process of its own: the decoder leaves its pipes for the collector to close."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CODE = """
import sys, numpy, imageio.v3 as iio
frames = numpy.asarray(iio.imread(sys.argv[1]))
numpy.savez(sys.argv[2], frames=frames, fps=iio.immeta(sys.argv[1]).get("fps", 0.0))
"""


def decode(path: Path) -> tuple[NDArray[np.uint8], float]:
    """The frames [T, H, W, 3] of a film, and its frames a second, 0 where the format does not say."""
    out = path.with_suffix(".decoded.npz")
    subprocess.run([sys.executable, "-c", CODE, str(path), str(out)], check=True)
    with np.load(out) as arrays:
        return arrays["frames"], float(arrays["fps"])
