"""The comparison of algorithms with SAC, on problems too small for its seconds to mean anything."""

import json
from collections.abc import Iterator, Sequence

import pytest
import relative
import throughput
from flops import BY_HAND
from measure import Line, Setup, set_up
from relative import COLUMNS, call_steps, compile_job, make_case, measure_relative
from throughput import Options, main

from offline_mbrl.algorithms.registry import definitions
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import Task, get_task


@pytest.fixture(scope="module")
def setup() -> Setup:
    return set_up(get_task("hopper-medium"), 2, 300)


def test_counts_on_paper_are_of_algorithms_that_exist() -> None:
    assert {name.partition(" ")[0] for name in BY_HAND} <= {"sac", *definitions()}


def test_a_case_may_name_a_preset(setup: Setup) -> None:
    assert make_case(setup, "edac").config.critics == 50
    assert make_case(setup, "edac:sac-n").config.critics == 500


def test_unknown_names_are_refused(setup: Setup) -> None:
    with pytest.raises(UserError, match="unknown algorithm 'comba'"):
        make_case(setup, "comba")
    with pytest.raises(UserError, match="unknown edac preset 'sacn'"):
        make_case(setup, "edac:sacn")


def test_costly_steps_are_timed_by_few() -> None:
    assert call_steps(1e3) > call_steps(5e9) >= call_steps(1e15) == 4


@pytest.mark.medium
def test_the_adversary_of_rambo_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relative, "compile_job", lambda setup, case: (3.0, 0.5))
    monkeypatch.setattr(relative, "compiled", lambda *_, **__: (lambda state, data, keys: (state, {}), 0.0))
    lines = list(measure_relative(get_task("hopper-medium"), ["rambo"], seeds=2, rows=300, repeats=1))
    assert [line["algorithm"] for line in lines] == ["sac", "rambo", "rambo adversary"]
    unit, update, adversary = lines
    assert unit["flop"] == 1
    assert update["flop"] == pytest.approx(1, rel=0.01)
    # On paper without the values of the advantage, which are two forward passes of each network more.
    assert adversary["flop"] == pytest.approx(BY_HAND["rambo adversary"], rel=0.1)
    assert [line["compilation_s"] for line in lines] == [3.0, 3.0, None]


@pytest.mark.medium
def test_a_job_is_compiled_without_being_run(setup: Setup) -> None:
    seconds, memory = compile_job(setup, make_case(setup, "bc"))
    assert seconds > 0
    assert 0 < memory < 1


def fake_lines(task: Task, names: Sequence[str], seeds: int, rows: int, repeats: int) -> Iterator[Line]:
    yield from ({**dict.fromkeys(COLUMNS), "algorithm": name, "cost": 2.0 * seeds} for name in names)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "measure_relative", fake_lines)
    monkeypatch.setattr(throughput, "measured_ceilings", lambda: {"device": "none"})


@pytest.mark.usefixtures("fake")
def test_one_table_for_each_number_of_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    main(Options(relative=("bc", "edac:sac-n"), seeds=(1, 4)))
    one, four = capsys.readouterr().out.split("1 seeds")[1].split("4 seeds")
    assert one.split()[-4:] == ["bc", "2", "edac:sac-n", "2"]
    assert [line.split() for line in four.splitlines()[3:5]] == [["bc", "8"], ["edac:sac-n", "8"]]


@pytest.mark.usefixtures("fake")
def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    main(Options(relative=("all",), seeds=(4,), json=True))
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert {line["seeds"] for line in lines} == {4}
    assert [line["algorithm"] for line in lines] == list(definitions())
    assert lines[0]["cost"] == 8.0
