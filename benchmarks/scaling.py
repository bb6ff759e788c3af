"""How costs grow: with seeds, rows of data, members of the ensemble, width of the networks, threads of evaluation.

Every point is measured in a process of its own, so that its peak memory is its own. Printed are the costs, and for each
the exponent of its growth: 1 is proportional, 0 is free.
"""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from compare import keep, shown, write_report
from fits import measure_fit
from growth import growth
from measure import Line, Setup, command, dynamics_fit, peak_memory, set_up, set_up_tiled, timed
from pictures import draw_growth, quantities
from relative import Case, make_case
from systems import measure_updates, refresh_call, updates_work
from tabulate import tabulate

from offline_mbrl.dynamics.config import EnsembleConfig
from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.machine import available_cores, versions
from offline_mbrl.nn.precision import computing
from offline_mbrl.precision import Precision
from offline_mbrl.simulation.simulator import Simulator
from offline_mbrl.tasks import get_task

Name = Literal["seeds", "rows", "members", "width", "threads"]

EVALUATED = 40
"""Rows of the simulator: four seeds of ten episodes."""

LEGEND = """\
exponent: of cost ~ size^exponent, over all sizes; last: between the last two; per unit: cost of one more (seed, row,
member, unit or thread), by a straight line. update_ms is of all seeds; temporary_mib is what the compiler reserves for
it beside the states; state_mib are the states of the system as it is configured, its imagined rows included; rss_gib is
what the process of the measurement held at most, with few imagined rows."""


@dataclass(frozen=True)
class Options:
    """What to vary, and what stays."""

    axes: tuple[Name, ...] = ()
    """All when absent."""
    sizes: tuple[int, ...] = ()
    """In place of an axis's own."""
    system: str = "mopo"
    """NAME or NAME:PRESET, for seeds, rows and width."""
    task: str = "hopper-medium"
    rows: int = 10_000
    """Of the data, where rows are not what varies."""
    seeds: int = 1
    """Where seeds are not what varies."""
    repeats: int = 3
    precision: Precision = "default"
    quick: bool = False
    """Few and small sizes with small networks, in one process: whether it runs, not what it costs."""
    json: bool = False
    """Print JSON in place of tables."""
    out: Path | None = None
    """Write the same JSON to a file; `throughput.py --compare` reads it."""
    picture: Path | None = None
    """Draw the costs over the sizes (.png, .pdf, .svg)."""


class Axis(NamedTuple):
    """A size that is varied: the costs at one value, and the values."""

    measure: Callable[[int, Options], dict[str, float]]
    values: tuple[int, ...]
    quick: tuple[int, ...]


def measure_seeds(seeds: int, options: Options) -> dict[str, float]:
    """A gradient step of all seeds, its compilation, what it needs beside the states, and the states of their job."""
    setup = set_up(get_task(options.task), seeds, options.rows)
    case = make_case(setup, options.system, small_settings(options))
    work = updates_work(setup, case)
    line = measure_updates(setup, work, options.repeats)
    return {
        "update_ms": seeds * line["ms"],
        "compilation_s": line["compilation_s"],
        "temporary_mib": work.temporary / 2**20,
        "state_mib": state_bytes(setup, case) / 2**20,
    }


def state_bytes(setup: Setup, case: Case) -> int:
    """What the states of the system hold as it is configured, its imagined rows included; nothing is computed."""
    state = jax.eval_shape(jax.vmap(case.job.init, in_axes=(0, None, 0)), setup.keys, setup.data, case.pretrained)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def measure_rows(rows: int, options: Options) -> dict[str, float]:
    """A gradient step on more data, the start of a fit and an epoch of a narrow one: the growth is what counts."""
    setup = set_up_tiled(get_task(options.task), options.seeds, rows)
    work = updates_work(setup, make_case(setup, options.system, small_settings(options)))
    line = measure_updates(setup, work, options.repeats)
    fit = measure_fit(setup, dynamics_fit(ensemble(hidden=(32,)), setup.problem), 1)
    return {"update_ms": options.seeds * line["ms"], "narrow_epoch_s": fit["epoch_s"]}


def measure_members(members: int, options: Options) -> dict[str, float]:
    """A step of the ensemble's fit, and five imagined steps of a thousand branches."""
    setup = set_up(get_task(options.task), options.seeds, options.rows)
    hidden = (8,) if options.quick else EnsembleConfig.model_fields["hidden"].default
    config = ensemble(hidden, members)
    fit = measure_fit(setup, dynamics_fit(config, setup.problem), options.repeats)
    settings = {"dynamics": {"members": members, "elites": config.elites, **layers(hidden)}, "rollout_batch": 1000}
    (seconds,) = timed([refresh_call(setup, make_case(setup, "mopo", settings))], options.repeats)
    return {"fit_step_ms": options.seeds * fit["ms"], "rollouts_ms": 1e3 * seconds}


def measure_width(width: int, options: Options) -> dict[str, float]:
    """A gradient step with two hidden layers of `width`, and a step of the fit with four."""
    setup = set_up(get_task(options.task), options.seeds, options.rows)
    case = make_case(setup, options.system, {"hidden": (width, width)})
    line = measure_updates(setup, updates_work(setup, case), options.repeats)
    fit = measure_fit(setup, dynamics_fit(ensemble((width,) * 4), setup.problem), options.repeats)
    return {"update_ms": options.seeds * line["ms"], "fit_step_ms": options.seeds * fit["ms"]}


def measure_threads(threads: int, options: Options) -> dict[str, float]:
    """Control steps of four seeds' ten episodes, without a policy."""
    robot, steps = get_task(options.task).robot, 2 if options.quick else 100
    simulator = Simulator(robot, EVALUATED, threads=threads)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, EVALUATED, robot.action_dim))

    def episodes() -> None:
        simulator.reset(range(EVALUATED))
        for action in actions:
            simulator.step(action)

    timed([episodes], 1)
    (seconds,) = timed([episodes], options.repeats)
    return {"control_step_ms": 1e3 * seconds / steps}


AXES: dict[Name, Axis] = {
    "seeds": Axis(measure_seeds, (1, 2, 4, 8, 16, 32, 64), (1, 2)),
    "rows": Axis(measure_rows, (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000), (600, 1200)),
    "members": Axis(measure_members, (1, 2, 4, 7, 14, 28), (1, 2)),
    "width": Axis(measure_width, (32, 64, 128, 256, 512, 1024), (8, 16)),
    "threads": Axis(measure_threads, (1, 2, 4, 8), (1, 2)),
}


def ensemble(hidden: Sequence[int], members: int = 7) -> EnsembleConfig:
    """An ensemble of that shape, with five elites where it has as many."""
    return GaussianConfig.model_validate({"members": members, "elites": min(5, members), **layers(hidden)})


def layers(hidden: Sequence[int]) -> dict[str, Any]:
    """Hidden layers, and a decay for each and the output's."""
    return {"hidden": tuple(hidden), "weight_decay": (1e-4,) * (len(hidden) + 1)}


def small_settings(options: Options) -> Mapping[str, Any]:
    """Small networks for a quick run; the system's own otherwise."""
    return {"hidden": (8, 8), "rollout_batch": 20, "dynamics": layers((8,))} if options.quick else {}


def measure_point(name: Name, size: int, options: Options) -> Line:
    """One line: the costs at one size, and the memory that this process held at most."""
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured
    with computing(options.precision):
        return {"of": name, "size": size, **AXES[name].measure(size, options), "rss_gib": peak_memory()}


def alone(name: Name, size: int, options: Options) -> Line:
    """`measure_point` in a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure_point, name, size, options).result()


def sweep(options: Options) -> Iterator[Line]:
    """The points of all axes that were asked for."""
    measure = measure_point if options.quick else alone
    for name in options.axes or tuple(AXES):
        axis = AXES[name]
        for size in options.sizes or (axis.quick if options.quick else axis.values):
            yield measure(name, size, options)


def growths(lines: Sequence[Line]) -> list[Line]:
    """For each axis with two sizes or more, and each cost: how it grows."""
    fitted = []
    for name in dict.fromkeys(line["of"] for line in lines):
        rows = [line for line in lines if line["of"] == name]
        for quantity in quantities(rows) if len(rows) > 1 else ():
            found = growth([line["size"] for line in rows], [line[quantity] for line in rows])
            fitted.append({"of": f"growth with {name}", "cost": quantity, **found._asdict()})
    return fitted


def describe(options: Options) -> dict[str, Any]:
    """What the numbers were measured on."""
    device = jax.devices()[0]
    names = ("system", "task", "rows", "seeds", "precision", "quick")
    return {
        "device": f"{device.device_kind} ({device.platform})",
        "cores": available_cores(),
        **{name: getattr(options, name) for name in names},
        "versions": versions(),
    }


def main(options: Options) -> None:
    """Measures, fits, prints, writes and draws."""
    about = describe(options)
    points = list(keep(options.out, about, sweep(options)))
    report = {"about": about, "lines": [*points, *growths(points)]}
    print(json.dumps(report, indent=2) if options.json else tables(report))
    if options.out:
        write_report(options.out, report)
    if options.picture:
        draw_growth(about, points, options.picture)


def tables(report: Mapping[str, Any]) -> str:
    """What it was measured on, a table for each axis, and one of the growths."""
    groups: dict[str, list[Line]] = {}
    for line in report["lines"]:
        name = "growth" if "cost" in line else line["of"]
        axis = {"with": line["of"].rpartition(" ")[2]} if "cost" in line else {}
        groups.setdefault(name, []).append(axis | {key: shown(value) for key, value in line.items() if key != "of"})
    about = "\n".join(f"{name}: {value}" for name, value in report["about"].items())
    bodies = [f"{name}\n{tabulate(rows, headers='keys', disable_numparse=True)}" for name, rows in groups.items()]
    return "\n\n".join([about, *bodies, LEGEND])


if __name__ == "__main__":
    command(main, tyro.cli(Options, description=__doc__))
