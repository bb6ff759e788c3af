"""What a whole period of a run takes, by part: gradient steps with their rollouts, evaluation, checkpoint.

Then the two ways to arrange the first two: one after the other, and evaluation of the last period's policy in a thread
while the next period trains. Every episode of the evaluation runs its full length, as those of good policies do.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measure import Line, Setup, timed
from numpy.typing import NDArray
from relative import make_case

from offline_mbrl.simulation.rules import Bools
from offline_mbrl.simulation.simulator import Simulator, Step
from offline_mbrl.training.loop import Program, compile_program, periods
from offline_mbrl.training.saving import CHECKPOINTS, Saver
from offline_mbrl.training.scoring import score_lanes


class WholeEpisodes(Simulator):
    """A simulator in which nobody falls: every episode has all its control steps."""

    def step(self, actions: NDArray[np.floating], active: Bools | None = None) -> Step:
        """As the simulator's, but only the time limit ends an episode."""
        step = super().step(actions, active)
        return step._replace(terminated=np.zeros_like(step.terminated))


class Run:
    """A run under way, whose parts are called one by one."""

    def __init__(self, setup: Setup, program: Program, pretrained: Mapping[str, Any], judge: Simulator) -> None:
        self.setup, self.program, self.judge = setup, program, judge
        self.seeds = range(setup.keys.shape[0])
        self.state = program.init(setup.keys, setup.data, pretrained)
        self.policy = self.acting()

    def train(self) -> None:
        """One period, its metrics on the host."""
        (period,) = periods(self.program, self.state, self.setup.data, self.setup.keys, 0, self.program.period)
        self.state = jax.block_until_ready(period.state)

    def acting(self) -> Any:
        """A copy of what acting reads, on the host's processor: training consumes the rest."""
        copied = jax.tree.map(jnp.copy, self.program.conclude(self.state))
        return jax.block_until_ready(jax.device_put(copied, jax.devices("cpu")[0]))

    def evaluate(self, state: Any) -> None:
        """Scores the policies of `state`."""
        episodes = self.judge.num_envs // len(self.seeds)
        score_lanes(self.program, state, self.judge, self.judge.robot, self.seeds, 0, episodes)

    def one_after_the_other(self) -> None:
        """A period, then the evaluation of its policy."""
        self.train()
        self.evaluate(self.state)

    def side_by_side(self) -> None:
        """A period, beside it the evaluation of the policy that the last one left."""
        with ThreadPoolExecutor(1) as thread:
            pending = thread.submit(self.evaluate, self.policy)
            self.train()
            self.policy = self.acting()
            pending.result()


def measure_periods(
    setup: Setup,
    names: Sequence[str],
    updates: int,
    episodes: int,
    repeats: int,
    settings: Mapping[str, Any] | None = None,
    make_judge: Callable[..., Simulator] = WholeEpisodes,
) -> Iterator[Line]:
    """One line for each system NAME, or NAME:PRESET: seconds of a period of `updates` steps with all it ends with."""
    seeds = setup.keys.shape[0]
    for name in names:
        case = make_case(setup, name, settings or {})
        judge = make_judge(setup.task.robot, seeds * episodes)
        run = Run(setup, compile_program(case.job, updates), case.pretrained, judge)
        about = {"system": name, "seeds": seeds, "updates": updates, "episodes": episodes}
        yield {"of": "periods", **about, **measure_run(run, repeats)}


def measure_run(run: Run, repeats: int) -> Line:
    """Seconds of the parts of a period, and of the period both ways."""
    calls = [run.train, lambda: run.evaluate(run.state), run.one_after_the_other, run.side_by_side]
    timed(calls, 1)
    train, evaluation, serial, beside = timed(calls, repeats)
    return {
        "train_s": train,
        "evaluation_s": evaluation,
        "one_after_the_other_s": serial,
        "side_by_side_s": beside,
        "gain": serial / beside,
        **measure_checkpoint(run, repeats),
    }


def measure_checkpoint(run: Run, repeats: int) -> Line:
    """Seconds that training waits for a checkpoint, seconds until it is on disk, and its size."""
    with tempfile.TemporaryDirectory() as folder, closing(Saver(Path(folder), 0.0)) as saver:
        both = [save(saver, number, run.state) for number in range(1, repeats + 2)][1:]
        files = [path for path in (Path(folder) / CHECKPOINTS / str(repeats + 1)).rglob("*") if path.is_file()]
        mebibytes = sum(path.stat().st_size for path in files) / 2**20
    waited, written = (median(column) for column in zip(*both, strict=True))
    return {"checkpoint_waits_s": waited, "checkpoint_written_s": written, "checkpoint_mib": mebibytes}


def save(saver: Saver, step: int, state: Any) -> tuple[float, float]:
    """Seconds until training may go on, and until the state is in place."""
    start = time.perf_counter()
    saver.save(step, state)
    waited = time.perf_counter() - start
    saver.wait()
    return waited, time.perf_counter() - start
