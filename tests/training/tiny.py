"""Settings of systems that train in a moment."""

TINY_BC: dict[str, object] = {"hidden": (8, 8), "batch_size": 16}
TINY_MOPO: dict[str, object] = {
    "hidden": (8, 8),
    "batch_size": 16,
    "rollout_batch": 20,
    "rollout_every": 10,
    "dynamics.hidden": (8, 8),
    "dynamics.weight_decay": (0.0, 0.0, 0.0),
    "dynamics.max_epochs": 2,
}
