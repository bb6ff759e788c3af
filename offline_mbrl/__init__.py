"""Model-based offline reinforcement learning on the D4RL MuJoCo tasks, many seeds in one compiled program."""

__version__ = "0.1.0"
