import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import trim_mean

from offline_mbrl.errors import UserError
from offline_mbrl.results.report.gather import gather
from offline_mbrl.results.report.page import write_report
from offline_mbrl.results.report.videos import films
from offline_mbrl.storage.records import append_records
from tests.results.report.made_up import write_job, write_sweep


def text_of(path: Path) -> str:
    """The page without its scripts and tags."""
    page = re.sub(r"<(script|style).*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"))
    assert found
    return dict(json.loads(found[1]))


def test_the_page_fetches_nothing(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    head = page[: page.index('<script type="text/plain"')]
    assert "default-src 'none'" in head
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', head) == []


def test_the_conclusion_names_the_best_system_and_who_is_not_compared(report: Path) -> None:
    text = text_of(report)
    assert re.search(r"mopo has an interquartile mean of [\d.]+ \[[\d.]+, [\d.]+\] over 3 tasks", text)
    assert "Not compared, as scores on some task are missing: rambo." in text


def test_lost_seeds_are_listed_with_their_reason(report: Path) -> None:
    assert "rambo-lost, seed 1 diverged critic_loss became inf at step 50,000" in text_of(report)


def test_the_mean_over_tasks_is_drawn_at_the_steps_that_all_of_them_have(report: Path) -> None:
    data = data_of(report)
    found = data["aggregates"]
    for place, curve in zip(found["rows"], found["curves"], strict=True):
        tasks = [one for one in data["curves"] if one["row"] == place]
        assert curve["at"] == sorted(set.intersection(*(set(one["at"]) for one in tasks)))
        last = [seed[-1] for one in tasks for seed in one["scores"]]
        assert curve["value"][-1] == pytest.approx(trim_mean(last, 0.25), abs=0.01)
        assert curve["low"][-1] < curve["value"][-1] < curve["high"][-1]


def test_curves_hold_every_seed_and_the_map_every_published_source(report: Path) -> None:
    data = data_of(report)
    (curve,) = [one for one in data["curves"] if data["rows"][one["row"]] == "bc" and one["column"] == 0]
    assert (len(curve["scores"]), len(curve["at"]), curve["at"][-1]) == (4, 20, 100_000)
    assert {line["name"] for line in data["against"]} >= {"mopo − OfflineRL-Kit README", "mopo − ADMPO Table 1"}


def test_provenance_cost_and_data_come_from_the_records(report: Path) -> None:
    text = text_of(report)
    for fact in ("commit 0123456789ab", "NVIDIA H200, 16 cores", "55 min", "transitions 1,000,000"):
        assert fact in text


def test_what_was_measured_of_models_and_choices_stands_beside_the_scores(tmp_path: Path) -> None:
    records_of = Path(__file__).parents[3] / "experiments" / "results"
    folder = shutil.copytree(records_of / "selection", tmp_path / "runs")
    run = sorted(path.parent for path in Path(folder).rglob("job.json"))[0]
    shutil.copytree(records_of / "model_error" / "hopper", run / "model_error")
    text = text_of(write_report([tmp_path / "runs"], tmp_path / "report.html"))
    assert "Models and policies held against the simulator" in text
    assert "rank correlation of each penalty with the true one-step error" in text
    assert "mean rank of fqe and model_penalized 8" in text
    assert "seed 0 in its own states" in text

    (run / "model_error" / "seed-0.json").write_text("{")
    damaged = text_of(write_report([tmp_path / "runs"], tmp_path / "report.html"))
    assert f"model_error of {run.name}" in damaged
    assert "rank correlation of each penalty" not in damaged


@pytest.mark.slow
def test_a_report_of_fifteen_systems_on_twelve_tasks_stays_under_twelve_megabytes(tmp_path: Path) -> None:
    write_sweep(tmp_path / "runs")
    path = write_report([tmp_path / "runs"], tmp_path / "report.html")
    assert path.stat().st_size < 12e6
    assert len(data_of(path)["curves"]) == 15 * 12


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_job(runs / "sound", "mopo", "hopper-medium", [0, 1], 4, 30.0)
    half = write_job(runs / "half", "bc", "hopper-medium", [0], 4, 30.0, mark="")
    (half / "environment.json").unlink()
    damaged = write_job(runs / "damaged", "iql", "hopper-medium", [0], 4, 30.0)
    (damaged / "scores.jsonl").write_text('{"seed": 0, "step"\n{}\n')
    (write_job(runs / "metrics", "cql", "hopper-medium", [0], 4, 30.0) / "metrics.jsonl").write_text("no json\n{}\n")
    (runs / "foreign").mkdir()
    (runs / "foreign" / "job.json").write_text('{"kind": "something else"}')
    (runs / "notes.txt").write_text("not ours")
    later = write_job(runs / "later", "edac", "hopper-medium", [0], 4, 30.0) / "job.json"
    later.write_text(json.dumps(json.loads(later.read_text()) | {"format": 99}))
    text = text_of(write_report([runs], tmp_path / "report.html"))
    for line in (
        "half : it has no data and no scores yet",
        "damaged : line 1 of scores.jsonl is damaged",
        "training metrics of metrics : line 1 of metrics.jsonl is damaged",
        "foreign : job.json is damaged (id: field required)",
        "later : job.json is of format 99, and this version of offline-mbrl reads up to 1; install a newer one",
    ):
        assert line in text
    assert "cql" in text[text.index("Scores") :]


def test_a_folder_without_scores_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no job under"):
        write_report([tmp_path], tmp_path / "report.html")
    damaged = write_job(tmp_path / "runs", "bc", "hopper-medium", [0], 4, 30.0)
    (damaged / "job.json").write_text("{}")
    with pytest.raises(UserError, match="none of the jobs has scores that can be read, first runs: job"):
        write_report([tmp_path / "runs"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_names_from_records_cannot_become_markup(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "runs", "bc", "hopper-medium", [0], 4, 30.0)
    environment = json.loads((folder / "environment.json").read_text())
    environment["dataset"]["name"] = "</script><script>alert(1)</script>"
    (folder / "environment.json").write_text(json.dumps(environment))
    path = write_report([tmp_path / "runs"], tmp_path / "report.html", title="<b>bold</b>")
    assert "<script>alert" not in path.read_text(encoding="utf-8")
    assert "<title>&lt;b&gt;bold" in path.read_text(encoding="utf-8")


def test_films_are_held_by_the_page_until_they_weigh_too_much(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "runs", "bc", "hopper-medium", [0], 4, 30.0)
    (folder / "video").mkdir()
    for name, size in (("a.mp4", 60), ("b.mp4", 60), ("c.mp4", 30)):
        (folder / "video" / name).write_bytes(b"x" * size)
    held = films(gather([tmp_path / "runs"]).jobs, budget=100)
    assert [(film.name, bool(film.data)) for film in held] == [("a.mp4", True), ("b.mp4", False), ("c.mp4", True)]
    assert "Policy videos" in text_of(write_report([tmp_path / "runs"], tmp_path / "report.html"))


def test_robustness_has_a_section_where_it_was_measured(tmp_path: Path) -> None:
    folder = write_job(tmp_path / "runs", "bc", "hopper-medium", [0], 4, 30.0)
    assert "Robustness" not in text_of(write_report([tmp_path / "runs"], tmp_path / "report.html"))
    records = [
        {"seed": 0, "step": 4, "variant": f"mass {mass}", "kind": "mass", "mass": mass, "returns": [1.0], "score": mass}
        for mass in (0.5, 1.5)
    ]
    append_records(folder / "robustness.jsonl", records)
    path = write_report([tmp_path / "runs"], tmp_path / "report.html")
    assert "Robustness" in text_of(path)
    assert 'src="data:image/png;base64,' in path.read_text()
