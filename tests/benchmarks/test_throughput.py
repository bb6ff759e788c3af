"""The parts of the throughput benchmark, on problems too small for its seconds to mean anything."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest
import throughput
from fits import fits_of, measure_fit
from flops import count_flops
from measure import Line, Setup, dynamics_fit, set_up
from periods import WholeEpisodes, measure_periods
from pictures import draw_roofline
from relative import make_case
from systems import measure_systems, start
from throughput import Options, main

from offline_mbrl.dynamics.models.gaussian import GaussianConfig
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import get_task
from offline_mbrl.training.loop import compile_program

TINY = {"hidden": (8, 8)}


@pytest.fixture(scope="module")
def setup() -> Setup:
    return set_up(get_task("hopper-medium"), 2, 300)


@pytest.mark.medium
def test_a_system_has_its_rate_and_what_a_step_costs(setup: Setup) -> None:
    (line,) = measure_systems(setup, ["bc"], 1, TINY)
    assert (line["of"], line["system"], line["seeds"]) == ("systems", "bc", 2)
    assert line["updates_per_s"] == pytest.approx(1e3 / line["ms"])
    case = make_case(setup, "bc", TINY)
    one = jax.tree.map(lambda leaf: leaf[0], start(setup, case))
    batch = case.small.sample(one, setup.data, setup.keys[0])
    assert line["gflop"] == pytest.approx(count_flops(case.small.update, one, batch, setup.keys[0]) / 1e9)
    assert line["gb"] > 0


@pytest.mark.medium
def test_a_fit_is_measured_by_steps_and_compiled_once(setup: Setup) -> None:
    config = GaussianConfig(members=2, elites=1, hidden=(8,), weight_decay=(0.0, 0.0), batch_size=32)
    line = measure_fit(setup, dynamics_fit(config, setup.problem), 1)
    # 240 rows are not held out: eight steps of 32 for each of two seeds.
    assert line["unit"] == "step"
    assert line["units_per_s"] == pytest.approx(2 * 8 / line["epoch_s"])
    assert line["compiled_programs"] == 1


def test_a_fit_that_systems_share_is_measured_once(setup: Setup) -> None:
    assert list(fits_of(setup, ["bc", "mopo", "mobile"])) == ["dynamics of mopo"]


@pytest.mark.medium
def test_a_period_has_its_parts(setup: Setup) -> None:
    task = setup.task
    short = setup._replace(task=replace(task, robot=replace(task.robot, horizon=3)))
    (line,) = measure_periods(short, ["bc"], updates=2, episodes=1, repeats=1, settings=TINY)
    assert {name for name, value in line.items() if isinstance(value, float)} == {
        "train_s",
        "evaluation_s",
        "one_after_the_other_s",
        "side_by_side_s",
        "gain",
        "checkpoint_waits_s",
        "checkpoint_written_s",
        "checkpoint_mib",
    }
    assert line["gain"] == line["one_after_the_other_s"] / line["side_by_side_s"]
    assert line["checkpoint_waits_s"] <= line["checkpoint_written_s"]
    assert line["checkpoint_mib"] > 0


def test_the_period_asked_for_is_the_interval_of_rollouts(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    # A period must hold whole intervals: MOPO's own 1000 steps do not fit one of 500.
    asked: list[tuple[Any, ...]] = []

    def fake(*args: Any) -> Iterator[Line]:
        asked.append(args)
        return iter(())

    monkeypatch.setattr(throughput, "measure_periods", fake)
    list(throughput.periods(Options(updates=500, rollout_batch=20), setup, 2, {}))
    ((_, names, updates, _, _, settings),) = asked
    assert compile_program(make_case(setup, names[0], settings).job, updates).period == 500


def test_nobody_falls_in_a_timed_evaluation() -> None:
    robot = replace(get_task("hopper-medium").robot, horizon=120)
    judge = WholeEpisodes(robot, 1, threads=1)
    judge.reset([0])
    steps = [judge.step(judge.obs[:, :3] * 0 + 1.0) for _ in range(120)]
    assert [step.truncated[0] for step in steps] == [False] * 119 + [True]
    assert not any(step.terminated[0] for step in steps)


def fake_systems(setup: Setup, names: list[str], repeats: int) -> Iterator[Line]:
    yield {
        "of": "systems",
        "system": names[0],
        "seeds": 1,
        "updates_per_s": 300.0,
        "ms": 1e3 / 300,
        "gflop": 0.5,
        "gb": 0.1,
    }


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, setup: Setup) -> None:
    monkeypatch.setattr(throughput, "measure_systems", fake_systems)
    monkeypatch.setattr(throughput, "set_up", lambda task, seeds, rows: setup)
    monkeypatch.setattr(throughput, "measured_ceilings", lambda: {"device": "cpu", **CEILINGS})


CEILINGS = {"matrix_product_gflops": 100.0, "bandwidth_gb_per_s": 10.0}


@pytest.mark.usefixtures("fake")
def test_a_run_is_compared_with_the_file_of_an_earlier_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Options(parts=("systems",), systems=("mopo",), seeds=(1,), out=tmp_path / "old.json")
    main(options)
    old: dict[str, Any] = json.loads((tmp_path / "old.json").read_text())
    assert old["about"]["precision"] == "default"
    old["lines"][0]["updates_per_s"] = 200.0
    (tmp_path / "old.json").write_text(json.dumps(old))
    capsys.readouterr()
    main(replace(options, out=None, compare=(tmp_path / "old.json",)))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["systems,", "mopo,", "1", "seeds", "updates_per_s", "200", "300", "1.500"] in rows


@pytest.mark.usefixtures("fake")
def test_a_roofline_is_drawn_of_what_was_measured(tmp_path: Path) -> None:
    main(Options(parts=("systems",), systems=("mopo",), seeds=(1,), roofline=tmp_path / "roof.png"))
    assert (tmp_path / "roof.png").stat().st_size > 5000


def test_a_roofline_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="FLOP, bytes and times"):
        draw_roofline({"device": "cpu"} | CEILINGS, [{"of": "rates", "seeds": 1}], tmp_path / "roof.png")
