"""Scripts in `benchmarks` import each other by name, as Python does when it runs one; so do their tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
