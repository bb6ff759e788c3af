"""What training costs on this machine, or would on a GPU that is described: --parts chooses.

rates: updates, imagined transitions, ensemble steps, evaluation steps per second of MOPO (the default). systems:
gradient steps of every system. fits: what is fitted before them. periods: a period of a run by part, with evaluation
after training and beside it. kernels: what XLA makes of the inner loops for a GPU that need not be there; asked for
alone.

--out writes JSON; --compare OLD prints ratios to such a file, and --compare OLD NEW those of two, measuring nothing.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gpu
import jax
import tyro
from compare import keep, read_report, show, shown
from fits import measure_fits
from gpu_kernels import measure_kernels
from measure import Line, Setup, command, peak_bandwidth, peak_flops, set_up
from periods import measure_periods
from rates import measure_rates
from relative import COLUMNS, LEGEND, measure_relative
from systems import measure_systems
from tabulate import tabulate

from offline_mbrl.algorithms.registry import names as system_names
from offline_mbrl.algorithms.systems.mopo import MOPOConfig
from offline_mbrl.errors import UserError
from offline_mbrl.machine import available_cores, versions
from offline_mbrl.nn.precision import computing
from offline_mbrl.precision import Precision
from offline_mbrl.tasks import Task, get_task

Part = Literal["rates", "systems", "fits", "periods", "kernels"]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    parts: tuple[Part, ...] = ("rates",)
    task: str = "hopper-medium"
    systems: tuple[str, ...] = ()
    """NAME or NAME:PRESET, or "all", for the parts but rates; absent, all for `systems` and MOPO for the others."""
    seeds: tuple[int, ...] = ()
    """Sizes of the batch of seeds; 1 4 16 32 when absent, on a CPU 1 4."""
    updates: int = 1000
    """Gradient steps between rollouts, of one timed call of `rates`, and of a period."""
    rollout_batch: int = 50_000
    """Imagined branches of one refresh, five steps each."""
    rows: int = 100_000
    """Rows of synthetic data."""
    evaluation_steps: int = 100
    episodes: int = 10
    """Of an evaluation in a period, for each seed."""
    repeats: int = 3
    precision: Precision = "default"
    gpu: str = "h200"
    """The card that `kernels` compiles for: h200, h100 or a100."""
    relative: tuple[str, ...] = ()
    """Instead, the cost of one gradient step of these algorithms (NAME or NAME:PRESET; "all") in units of SAC's."""
    json: bool = False
    """Print JSON in place of tables."""
    out: Path | None = None
    """Write the same JSON to a file."""
    roofline: Path | None = None
    """Draw what was measured under the device's ceilings (.png, .pdf, .svg)."""
    compare: tuple[Path, ...] = ()
    """A file of --out to compare with, or two that are compared with each other."""


def main(options: Options) -> None:
    """Measures, writes, prints and compares."""
    if len(options.compare) > 2:
        raise UserError(f"--compare takes one file or two, not {len(options.compare)}")
    if len(options.compare) == 2:
        print(show(*map(read_report, options.compare)))
        return
    old = [read_report(path) for path in options.compare]
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured
    if "kernels" in options.parts:
        prepare_kernels(options)
    with computing(options.precision):
        about = describe(options)
        if not options.json:
            print("\n".join(f"{name}: {value}" for name, value in about.items()), flush=True)
        report = {"about": about, "lines": list(keep(options.out, about, measured(options, about)))}
    hand_out(options, report)
    for before in old:
        print(show(before, report))


def prepare_kernels(options: Options) -> None:
    """Refuses what would be measured elsewhere than `about` says, and finds the compiler."""
    if options.parts != ("kernels",) or options.relative:
        raise UserError("kernels are those of a GPU that is described, and nothing is measured: ask for them alone")
    gpu.get_gpu(options.gpu)
    gpu.prepare()


def describe(options: Options) -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        **(described_ceilings(options) if "kernels" in options.parts else measured_ceilings()),
        "precision": options.precision,
        "task": options.task,
        "rows": options.rows,
        "rollouts": f"{options.rollout_batch} x 5 every {options.updates} updates",
        "versions": versions(),
    }


def measured_ceilings() -> dict[str, Any]:
    """This device and the fastest it was seen to multiply and to copy."""
    device = jax.devices()[0]
    return {
        "device": f"{device.device_kind} ({device.platform})",
        "cores": available_cores(),
        "matrix_product_gflops": peak_flops() / 1e9,
        "bandwidth_gb_per_s": peak_bandwidth() / 1e9,
    }


def described_ceilings(options: Options) -> dict[str, Any]:
    """A card's name and what its makers say of it."""
    card = gpu.get_gpu(options.gpu)
    return {
        "device": f"{card.title} (described; times are predicted)",
        "matrix_product_gflops": card.products / 1e9,
        "bandwidth_gb_per_s": card.bandwidth / 1e9,
    }


def measured(options: Options, about: Mapping[str, Any]) -> Iterator[Line]:
    """The lines of all parts."""
    task = get_task(options.task)
    for seeds in batch_sizes(options):
        yield from relative_lines(options, task, seeds) if options.relative else lines(options, task, seeds, about)


def batch_sizes(options: Options) -> tuple[int, ...]:
    """The numbers of seeds to measure: a CPU is full with few."""
    small = jax.devices()[0].platform == "cpu" and "kernels" not in options.parts
    return options.seeds or ((1, 4) if small else (1, 4, 16, 32))


def relative_lines(options: Options, task: Task, seeds: int) -> Iterator[Line]:
    """Costs in units of SAC's step."""
    names = system_names() if options.relative == ("all",) else options.relative
    for line in measure_relative(task, names, seeds, options.rows, options.repeats):
        yield {"of": "relative", "seeds": seeds, **line}


def lines(options: Options, task: Task, seeds: int, about: Mapping[str, Any]) -> Iterator[Line]:
    """The lines of all parts for one number of seeds."""
    described = "kernels" in options.parts
    setup = set_up(task, 1 if described else seeds, 1000 if described else options.rows)
    for part in options.parts:
        yield from PARTS[part](options, setup, seeds, about)


def chosen(options: Options, default: list[str]) -> list[str]:
    """The systems that were asked for."""
    return system_names() if options.systems == ("all",) else list(options.systems) or default


def rates(options: Options, setup: Setup, seeds: int, about: Mapping[str, Any]) -> Iterator[Line]:
    """MOPO by its parts."""
    config = MOPOConfig(rollout_batch=options.rollout_batch, rollout_every=options.updates)
    peak = 1e9 * about["matrix_product_gflops"]
    yield measure_rates(setup, config, options.updates, options.evaluation_steps, options.repeats, peak)


def all_systems(options: Options, setup: Setup, seeds: int, about: Mapping[str, Any]) -> Iterator[Line]:
    """Gradient steps of every system."""
    return measure_systems(setup, chosen(options, system_names()), options.repeats)


def fits(options: Options, setup: Setup, seeds: int, about: Mapping[str, Any]) -> Iterator[Line]:
    """Epochs of what is fitted first."""
    return measure_fits(setup, chosen(options, ["mopo"]), options.repeats)


def periods(options: Options, setup: Setup, seeds: int, about: Mapping[str, Any]) -> Iterator[Line]:
    """Periods by part, and evaluation after or beside training."""
    settings = {"rollout_batch": options.rollout_batch, "rollout_every": options.updates}
    names = chosen(options, ["mopo"])
    return measure_periods(setup, names, options.updates, options.episodes, options.repeats, settings)


def kernels(options: Options, setup: Setup, seeds: int, about: Mapping[str, Any]) -> Iterator[Line]:
    """Inner loops as a described GPU would run them."""
    return measure_kernels(setup, gpu.get_gpu(options.gpu), chosen(options, ["mopo"]), seeds, options.rows)


LEGENDS = {
    "relative": LEGEND,
    "systems": "ms, gflop, gb: one gradient step of one seed; gb is what XLA's loops read and write, caches ignored",
    "fits": "ms, gflop, gb: one unit of one seed; units_per_s: of all seeds; compiled_programs: more than 1 is a waste",
    "kernels": "kernels, mb, us: one step, update or refresh of all seeds; gflop, gb, ms: of one seed",
    "periods": "one_after_the_other: train, then evaluate; side_by_side: evaluate the last period's policy meanwhile",
}

PARTS: dict[str, Callable[[Options, Setup, int, Mapping[str, Any]], Iterator[Line]]] = {
    "rates": rates,
    "systems": all_systems,
    "fits": fits,
    "periods": periods,
    "kernels": kernels,
}


def hand_out(options: Options, report: dict[str, Any]) -> None:
    """Prints the tables or the JSON, and draws what was asked for."""
    print(json.dumps(report, indent=2) if options.json else tables(report["lines"]))
    if options.roofline:
        from pictures import draw_roofline  # it needs Matplotlib, which a GPU machine may lack

        draw_roofline(report["about"], report["lines"], options.roofline)


def tables(measurements: list[Line]) -> str:
    """A table for each part, of relative costs one for each number of seeds; below them what their columns say."""
    groups: dict[str, list[Line]] = {}
    for line in measurements:
        name = f"{line['seeds']} seeds" if line["of"] == "relative" else line["of"]
        groups.setdefault(name, []).append(line)
    legends = [LEGENDS[part] for part in dict.fromkeys(line["of"] for line in measurements) if part in LEGENDS]
    return "\n".join([*(f"\n{name}\n{table(name, group)}" for name, group in groups.items()), "", *legends])


def table(name: str, group: list[Line]) -> str:
    """One part's lines."""
    cells = [{key: shown(value) for key, value in line.items() if key != "of"} for line in group]
    if name == "rates":
        return tabulate([[key, *(line[key] for line in cells)] for key in cells[0]], disable_numparse=True)
    if group[0]["of"] == "relative":
        cells = [{key: value for key, value in line.items() if key in COLUMNS} for line in cells]
        return tabulate(cells, headers=COLUMNS, disable_numparse=True)
    return tabulate(cells, headers="keys", disable_numparse=True)


if __name__ == "__main__":
    command(main, tyro.cli(Options, description=__doc__))
