"""A run's policies as a film: seeds side by side, acting by their means above and drawing their actions below."""

from pathlib import Path

from offline_mbrl.nn.plain import Policy
from offline_mbrl.simulation.evaluate import reset_seeds
from offline_mbrl.simulation.filming import Scene, film
from offline_mbrl.simulation.playing import play
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import get_task
from offline_mbrl.training.export import export_policies, generator, own_variant
from offline_mbrl.training.job import read_job
from offline_mbrl.training.reevaluate import together

FOLDER = "video"
"""Of a run, where the report finds its films."""

MOST_SEEDS = 4


def video(
    run: Path,
    outs: tuple[Path, ...] = (),
    seeds: tuple[int, ...] = (),
    seconds: float = 8.0,
    start: int = 0,
    sampled: bool = True,
    size: tuple[int, int] = (320, 240),
) -> list[Path]:
    """Films the policies of a run's last checkpoint and returns the files.

    Args:
      run: the run's folder.
      outs: .mp4 and .gif files; `video/policy.mp4` in the run's folder when empty.
      seeds: of the run; its first four when empty.
      seconds: of the film, which ends sooner where all episodes do.
      start: which of the starts.
      sampled: a second row shows the policies that draw their actions.
      size: pixels of one picture.

    Raises:
      UserError: there is no policy, a package is missing, or nothing can draw here.
    """
    job = read_job(run)
    chosen = seeds or job.seeds[:MOST_SEEDS]
    policies = [_own(own_variant(job, one), one) for one in export_policies(run, chosen).values()]
    ways = [True, False] if sampled else [True]
    acting = [Policy(one.actor, one.about, generator(mean, 0)) for mean in ways for one in policies]
    labels = [[f"seed {seed} {'mean' if mean else 'sampled'}" for seed in chosen] for mean in ways]
    robot = get_task(job.task).robot
    simulator = Simulator(robot, len(acting), job.physics)
    steps = min(robot.horizon, round(seconds / (simulator.model.opt.timestep * robot.frame_skip)))
    starts = reset_seeds(chosen * len(ways), 2**31 + start, 1)
    played = play(together(acting), simulator, starts, steps)
    return film(Scene(robot.name, job.physics, labels, *size), played, outs or (run / FOLDER / "policy.mp4",))


def _own(variant: str, policies: dict[str, Policy]) -> Policy:
    """The run's own way of acting; the last of those that can be taken away where its own cannot."""
    return policies[variant] if variant in policies else list(policies.values())[-1]
