"""Every suite that ships: it can be found by name, has its page and its numbers, and trains at the smallest scale."""

import csv
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from offline_mbrl.cli import app as cli
from offline_mbrl.errors import UserError
from offline_mbrl.launch.shipped import describe_suites, find_suite, names, plan_of, results_folder
from offline_mbrl.launch.suite import at_scale, plan, read_suite, scales
from offline_mbrl.results.published import read
from offline_mbrl.storage.records import SUITE, find_jobs, job_status, read_json
from offline_mbrl.tasks import get_task
from offline_mbrl.training import lanes
from offline_mbrl.training.loop import block_steps
from offline_mbrl.training.system import configured

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
PAPERS = [name for name in names() if "/" in name and not name.startswith("evidence/")]


def test_a_suite_is_found_by_name_and_by_file(tmp_path: Path) -> None:
    by_name = find_suite("mopo/penalties", "small")
    assert by_name.path == EXPERIMENTS / "mopo/penalties.toml"
    assert results_folder(by_name) == Path("results/mopo/penalties/small")
    assert find_suite(str(by_name.path), "small").name == "mopo/penalties"
    assert find_suite("mopo/penalties").scale == "full"
    assert results_folder(find_suite("bench")) == Path("results/bench")
    own = tmp_path / "own.toml"
    own.write_text('tasks = ["hopper-medium"]\n[[run]]\nalgorithm = "bc"\n')
    assert results_folder(find_suite(str(own))) == Path("results/own")
    with pytest.raises(UserError, match="unknown suite 'mopo/penalty'; did you mean 'mopo/penalties'"):
        find_suite("mopo/penalty")


@pytest.mark.parametrize("name", PAPERS)
def test_a_published_table_has_three_scales_that_grow(name: str) -> None:
    suite = read_suite(find_suite(name).path)
    assert scales(suite) == ["smoke", "small", "full"]
    work = [[planned.job for planned in plan(at_scale(suite, scale))] for scale in scales(suite)]
    costs = [sum(job.steps * len(job.seeds) for job in jobs) for jobs in work]
    assert all(less < more for less, more in pairwise(costs))
    assert all(job.precision == "highest" for jobs in work for job in jobs)
    assert suite.title
    assert suite.cost
    assert suite.scale["small"].cost


@pytest.mark.parametrize("name", PAPERS)
def test_every_job_of_every_scale_can_be_built_and_evaluated_when_it_asks_for_it(name: str) -> None:
    suite = read_suite(find_suite(name).path)
    jobs = [planned.job for scale in scales(suite) for planned in plan(at_scale(suite, scale))]
    for job in {lanes.shared(job): job for job in jobs}.values():
        system = configured(job.algorithm, get_task(job.task), job.config, job.steps)
        assert block_steps(system.algorithm, job.evaluate_every) <= job.evaluate_every
        assert job.steps // job.evaluate_every >= 2


@pytest.mark.parametrize("name", PAPERS)
def test_the_published_numbers_belong_to_rows_and_tasks_of_the_suite(name: str) -> None:
    suite = read_suite(find_suite(name).path)
    if suite.published is None or suite.published.parent != find_suite(name).path.parent:
        return
    variants, tasks = {planned.variant for planned in plan(suite)}, {planned.job.task for planned in plan(suite)}
    for record in read(suite.published):
        assert any(record["algorithm"].startswith(variant) for variant in variants), record
        assert record["task"] in tasks


@pytest.mark.parametrize("name", PAPERS)
def test_every_suite_has_its_section_in_the_page_of_its_folder(name: str) -> None:
    paper, _, _ = name.partition("/")
    page = (EXPERIMENTS / paper / "README.md").read_text()
    assert f"## {name}" in page
    assert f"offline-mbrl sweep {name}" in page


def test_the_report_s_tables_are_whole() -> None:
    """Seven and six printed rows of six tasks; the learned beta stands beside both of its forms here."""
    for name, rows in (("mopo/penalties", 7), ("combo/variants", 7)):
        with (EXPERIMENTS / f"{name}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 6 * rows


def test_the_wheel_takes_every_suite_and_no_records() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    shipped = {Path(path).name for path in build["force-include"]}
    assert shipped == {path.name for path in EXPERIMENTS.iterdir()} - {"results", "reproduce.sh"}


def test_the_list_of_suites_names_each_with_its_jobs() -> None:
    lines = describe_suites()
    assert {line[0] for line in lines} == set(names())
    assert all(int(jobs) > 0 for _, _, jobs, _, _ in lines)


def sweep(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["offline-mbrl", "sweep", name, "--scale", "smoke", "--cache-dir", "cache"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep(name, tmp_path, monkeypatch) == 0
    request = find_suite(name, "smoke")
    folder = results_folder(request)
    done = [path for path in find_jobs([folder]) if job_status(path) == "finished"]
    assert len(done) == len(plan_of(request)[1])
    assert all(read_json(path / SUITE)["suite"] == name for path in done)
    assert "verdict" in (folder / "verdict.md").read_text()


@pytest.mark.medium
def test_a_suite_trains_at_the_smallest_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check("atac/beta", tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAPERS if name != "atac/beta"])
def test_every_suite_trains_at_the_smallest_scale(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, tmp_path, monkeypatch)
