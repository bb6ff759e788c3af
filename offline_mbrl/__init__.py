"""Model-based offline reinforcement learning on the D4RL MuJoCo tasks, many seeds in one compiled program.

From data to scores:

    import offline_mbrl as om

    data = om.load("hopper-medium", size=100_000)
    mopo = om.make("mopo", data.task, steps=100_000, penalty_weight=2.0)
    model = om.pretrain(mopo, data, seeds=range(4))
    run = om.train(mopo, data, model, seeds=range(4))
    print(om.evaluate(run, episodes=10).scores)  # [4, 10]
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offline_mbrl.api import (
        Dataset,
        Imagined,
        Policy,
        Pretrained,
        Robot,
        Scored,
        System,
        Task,
        TrainedRun,
        UserError,
        evaluate,
        from_arrays,
        imagine,
        load,
        load_policy,
        make,
        measure_model,
        measure_robustness,
        pretrain,
        register,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "Imagined",
    "Policy",
    "Pretrained",
    "Robot",
    "Scored",
    "System",
    "Task",
    "TrainedRun",
    "UserError",
    "evaluate",
    "from_arrays",
    "imagine",
    "load",
    "load_policy",
    "make",
    "measure_model",
    "measure_robustness",
    "pretrain",
    "register",
    "train",
]


def __getattr__(name: str) -> Any:
    # The front door is imported when it is used: the command line answers --help without JAX.
    if name in __all__:
        from offline_mbrl import api

        return getattr(api, name)
    raise AttributeError(f"module 'offline_mbrl' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
