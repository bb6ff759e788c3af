import json
from pathlib import Path

from offline_mbrl.results.outcome import one_line, outcome
from tests.cli.conftest import write_run


def with_facts(folder: Path, **facts: object) -> Path:
    """The run with more in its environment.json, unsealed."""
    path = folder / "environment.json"
    environment = json.loads(path.read_text())
    del environment["crc32"]
    path.write_text(json.dumps(environment | facts))
    return folder


def test_a_run_ends_with_its_score_what_it_compares_to_and_the_next_command(tmp_path: Path) -> None:
    """Evaluations of 10 and 20 average 15; 20 steps in 4 s of training are 5 a second; all parts are 10 s."""
    run = write_run(tmp_path / "run")
    said = outcome(with_facts(run, device="x86_64 CPU", seconds={"fit": 6.0, "train": 4.0}))
    lines = said.splitlines()
    assert lines[0] == "bc on hopper-medium, 1 seed, 20 steps"
    assert lines[1].startswith("  score 15.0; seed 0: 15.0")
    assert "  data: 1.0, the average of hopper-medium (None)" in lines
    assert any(line.startswith("  published, on D4RL's own files at full length: ") for line in lines)
    assert "  took 10 s on x86_64 CPU: fit 6 s, train 4 s" in lines
    assert "  5 gradient steps/s over all seeds while training" in lines
    assert f"next: offline-mbrl evaluate {run} --episodes 100" in lines


def test_records_of_earlier_versions_without_times_do_too(tmp_path: Path) -> None:
    assert "took" not in outcome(write_run(tmp_path / "run"))


def test_little_said_is_the_score(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert one_line(run) == f"{run}: score 15.0"
    (run / "scores.jsonl").unlink()
    (run / "DONE").unlink()
    assert one_line(run) == f"{run}: no score"
