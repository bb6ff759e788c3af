"""Load, fit, train four seeds, evaluate, plot: the whole path, small enough for a minute on two CPU cores.

Everything is tiny here: 5,000 rows, networks of 32 units, 1,000 steps. Leave out `size`, `steps` and `TINY` for a run
of published size.

    python examples/quickstart.py
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

import offline_mbrl as om

SEEDS = range(4)
TINY: dict[str, Any] = {
    "hidden": (32, 32),
    "batch_size": 64,
    "rollout_batch": 200,
    "rollout_every": 100,
    "dynamics": {
        "members": 3,
        "elites": 2,
        "hidden": (32, 32),
        "weight_decay": (0.0, 0.0, 0.0),
        "max_epochs": 5,
    },
}


def main(picture: Path = Path("quickstart.png")) -> None:
    """Trains MOPO on builtin hopper data and draws its learning curves."""
    data = om.load("hopper-medium-replay", size=5_000)
    print(f"{data.name}: {len(data):,} rows, fingerprint {data.fingerprint[:8]}")

    mopo = om.make("mopo", data.task, steps=1_000, penalty_weight=1.0, **TINY)
    model = om.pretrain(mopo, data, seeds=SEEDS)
    run = om.train(mopo, data, model, seeds=SEEDS, evaluate_every=200, episodes=2)

    scores = om.evaluate(run, episodes=4).scores  # [4 seeds, 4 episodes]
    for seed, row in zip(SEEDS, scores, strict=True):
        print(f"seed {seed}: {row.mean():.1f} ± {row.std(ddof=1):.1f} over episodes")

    act = run.policy(seed=0)
    print("first action:", act(data.observations[0]))
    draw(run, picture)


def draw(run: om.TrainedRun, picture: Path) -> None:
    """One learning curve for each seed."""
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    for seed in run.seeds:
        records = [record for record in run.scores if record["seed"] == seed]
        steps, scores = zip(*((record["step"], record["score"]) for record in records), strict=True)
        axes.plot(steps, scores, label=f"seed {seed}")
    axes.set_xlabel("gradient steps")
    axes.set_ylabel("normalized score")
    axes.legend()
    figure.savefig(picture)
    plt.close(figure)
    print(f"curves: {picture}")


if __name__ == "__main__":
    main()
