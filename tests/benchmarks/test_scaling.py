"""The sweep over sizes, small."""

import json
from pathlib import Path

import pytest
import scaling
from measure import Line
from scaling import AXES, Name, Options, growths, main, measure_threads

POWERS = {"seeds": 1.0, "rows": 0.0, "members": 0.5, "width": 2.0, "threads": -1.0}


def fake_point(name: Name, size: int, options: Options) -> Line:
    return {"of": name, "size": size, "cost_ms": 3.0 * size ** POWERS[name]}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "alone", fake_point)


@pytest.mark.usefixtures("fake")
def test_every_axis_has_its_exponent_in_the_file_and_in_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(Options(out=tmp_path / "scaling.json", picture=tmp_path / "scaling.png"))
    report = json.loads((tmp_path / "scaling.json").read_text())
    found = {line["of"].removeprefix("growth with "): line["exponent"] for line in report["lines"] if "cost" in line}
    assert found == pytest.approx(POWERS, abs=1e-9)
    assert [line["size"] for line in report["lines"] if line["of"] == "seeds"] == list(AXES["seeds"].values)
    assert (tmp_path / "scaling.png").stat().st_size > 5000
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["width", "cost_ms", "2", "2"] in [row[:4] for row in rows]


def test_one_size_has_no_growth() -> None:
    assert growths([fake_point("seeds", 1, Options())]) == []


def test_threads_step_the_same_robots() -> None:
    assert measure_threads(2, Options(quick=True, repeats=1))["control_step_ms"] > 0


@pytest.mark.medium
def test_seeds_are_measured_with_the_memory_of_their_job(capsys: pytest.CaptureFixture[str]) -> None:
    main(Options(axes=("seeds",), system="bc", quick=True, repeats=1, rows=300, json=True))
    one, two, *fits = json.loads(capsys.readouterr().out)["lines"]
    assert (one["size"], two["size"]) == (1, 2)
    # Networks, moments and keys of two seeds are twice those of one.
    assert two["state_mib"] == pytest.approx(2 * one["state_mib"])
    assert {line["cost"] for line in fits} >= {"update_ms", "state_mib", "rss_gib"}


@pytest.mark.slow
def test_every_axis_runs_small() -> None:
    options = Options(quick=True, repeats=1, rows=300)
    lines = [scaling.measure_point(name, axis.quick[0], options) for name, axis in AXES.items()]
    assert [line["of"] for line in lines] == list(AXES)
    assert all(value > 0 for line in lines for value in line.values() if isinstance(value, float))
