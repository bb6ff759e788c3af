import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from offline_mbrl.errors import UserError
from offline_mbrl.results.status import JobState, Planned, read_state, read_states, show, summary, view, watch_jobs

WriteJob = Callable[..., Path]


def printed(runs: Path, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    show([runs], console=console)
    return console.export_text()


def hold(folder: Path, process: int) -> None:
    (folder / ".lock.holder").write_text(f"process {process} on {socket.gethostname()} since now\n")


def test_a_finished_job_shows_the_mean_of_its_last_evaluations(write_job: WriteJob) -> None:
    state = read_state(write_job("a", {0: [10.0, 30.0], 1: [20.0, 50.0]}))
    assert (state.state, state.step, state.steps, state.seeds, state.score) == ("done", 20, 20, 2, 40.0)


def test_a_job_runs_while_the_process_that_holds_it_lives(write_job: WriteJob) -> None:
    folder = write_job("a", {0: [10.0]}, steps=40, mark="")
    assert read_state(folder).state == "stopped"
    hold(folder, os.getpid())
    assert read_state(folder).state == "running"
    hold(folder, 2**22 + 1)  # beyond what Linux gives to a process
    assert read_state(folder).state == "stopped"


def test_rate_and_time_left_come_from_the_last_two_checkpoints(write_job: WriteJob) -> None:
    folder = write_job("a", {0: [10.0, 20.0, 30.0]}, steps=60, mark="")
    hold(folder, os.getpid())
    for step, seconds in ((10, 1000), (30, 1010)):
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        os.utime(folder / "checkpoints" / str(step), (seconds, seconds))
    state = read_state(folder)
    assert (state.rate, state.seconds_left) == (2.0, 15.0)


def test_before_two_checkpoints_the_rate_is_that_since_the_run_began(write_job: WriteJob) -> None:
    folder = write_job("a", {0: [10.0, 20.0]}, steps=60, mark="")
    for name, seconds in (("environment.json", 1000), ("scores.jsonl", 1040)):
        os.utime(folder / name, (seconds, seconds))
    assert read_state(folder).rate == 0.5


def test_failures_and_diverged_seeds_say_why(write_job: WriteJob, runs: Path) -> None:
    failed = write_job("a", {0: [10.0]}, mark="FAILED")
    (failed / "FAILED").write_text("out of memory\n")
    write_job("b", {0: [10.0], 1: [20.0]}, diverged=(1,))
    text = printed(runs)
    assert "out of memory" in text
    assert "diverged: seed 1" in text
    assert "2 jobs: 1 done, 1 failed; 100 % of all steps" in text


def test_a_damaged_record_is_that_jobs_problem_alone(write_job: WriteJob, runs: Path) -> None:
    (write_job("a", {0: [10.0]}) / "scores.jsonl").write_text("nothing\n{}\n")
    write_job("b", {0: [10.0]})
    states = read_states([runs])
    assert [state.state for state in states] == ["damaged", "done"]
    assert states[0].problem.startswith("line 1 of scores.jsonl is damaged")


def test_planned_jobs_wait_until_they_have_a_folder(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [10.0]})
    states = read_states([runs], [Planned("a", "bc", 1, 10), Planned("b", "mopo", 2, 40)])
    assert [(state.name.split()[0], state.state) for state in states] == [("mopo", "done"), ("mopo", "waiting")]
    assert summary(states).plain == "2 jobs: 1 done, 1 waiting; 11 % of all steps"


def test_a_folder_without_jobs_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no job under"):
        read_states([tmp_path])
    assert read_states([tmp_path / "later"], [Planned("a", "bc", 1, 10)])[0].state == "waiting"


def test_lines_fit_a_terminal_of_eighty_characters(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [10.0]}, algorithm="td3_bc", task="halfcheetah-medium-replay")
    assert max(map(len, printed(runs).splitlines())) <= 80
    assert "td3_bc halfcheetah-medium-replay a" in printed(runs)
    assert "10/10" in printed(runs, width=130)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_live_view_ends_when_nothing_is_left_to_run(write_job: WriteJob, runs: Path, terminal: bool) -> None:
    write_job("a", {0: [10.0]})
    file = io.StringIO()
    watch_jobs([runs], console=Console(file=file, width=80, height=20, force_terminal=terminal))
    assert "1 job: 1 done; 100 % of all steps" in file.getvalue()


def test_a_view_without_room_for_all_shows_what_needs_a_look(write_job: WriteJob, runs: Path) -> None:
    write_job("a", {0: [10.0]})
    (write_job("b", {0: [10.0]}, algorithm="cql", mark="FAILED") / "FAILED").write_text("out of memory\n")
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(view(read_states([runs]), most=1))
    text = console.export_text()
    assert "cql hopper-medium b" in text
    assert "mopo" not in text
    assert text.endswith("1 not shown\n")


def test_time_left_is_told_of_running_jobs_only() -> None:
    assert JobState("a", "running", 10, 40, 1, rate=2.0).seconds_left == 15.0
    assert JobState("a", "stopped", 10, 40, 1, rate=2.0).seconds_left is None
    assert json.dumps(JobState("a", "running", 0, 0, 1).share) == "0.0"
