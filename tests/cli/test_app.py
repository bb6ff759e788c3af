"""The command line as a user meets it: help, lists, and one clear line for every mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from offline_mbrl.cli import app as cli

COMMANDS = (
    "tasks",
    "algorithms",
    "train",
    "sweep",
    "suites",
    "evaluate",
    "table",
    "verdict",
    "plot",
    "compare",
    "export",
    "import",
    "doctor",
    "push",
    "report",
    "schema",
    "status",
    "track",
    "video",
)
DATA_COMMANDS = (
    "build",
    "stats",
    "download",
    "import",
    "verify",
    "collect",
    "pack",
    "card",
    "extract-policy",
    "export",
)


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """The exit code of `offline-mbrl args`, in this process."""
    monkeypatch.setattr(sys, "argv", ["offline-mbrl", *args])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS), *(("data", name) for name in DATA_COMMANDS)])
def test_every_help_page_opens(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command, "--help") == 0
    text = capsys.readouterr().out
    assert "{None}" not in text
    assert "(default: None)" not in text
    assert "\n\n\n" not in text
    if command and command[-1] not in ("verify", "data"):
        description = text.split("options")[0].partition("\n\n")[2]
        assert f"offline-mbrl {' '.join(command)}" in description, "help shows no example"


def test_help_imports_nothing_heavy() -> None:
    heavy = ("jax", "mujoco", "matplotlib", "orbax", "scipy", "duckdb", "numpy", "pydantic", "rich.progress")
    code = f"import sys, offline_mbrl.cli.app; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_group_of_data_says_what_it_is_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    assert "Make, inspect, fetch and exchange data sets." in capsys.readouterr().out


def test_the_list_of_algorithms_fits_into_100_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "algorithms") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_the_version_is_told_at_once() -> None:
    code = "import sys; sys.argv[1:] = ['--version']; from offline_mbrl.cli.entry import main; main();"
    code += "print('tyro' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0].startswith("offline-mbrl 0.")
    assert said.splitlines()[1] == "False"


@pytest.mark.parametrize("name", ["Hopper-Medium-v2", "hopper_medium-v2", "HOPPER-MEDIUM"])
def test_names_are_understood_in_any_case_and_with_their_version(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "algorithms", "TD3+BC", "--task", name) == 0
    assert "TD3" in capsys.readouterr().out


def test_tasks_are_the_twelve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "tasks") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 12
    assert any(line.split() == ["hopper-medium-expert", "11", "3", "-20.27", "3234.30"] for line in lines)


def test_an_algorithm_shows_its_equation_settings_sources_and_deviations(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "algorithms", "mopo", "--task", "hopper-medium") == 0
    text = capsys.readouterr().out
    assert "lambda u(s,a)" in text
    assert ["penalty_weight", "5.0", "Kit"] in [line.split()[:3] for line in text.splitlines()]
    assert "Deviations" in text
    assert run(monkeypatch, "algorithms") == 0
    assert "mopo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "mopo", "hoper-medium"], "unknown task 'hoper-medium'; did you mean 'hopper-medium'?"),
        (["train", "mop", "hopper-medium"], "unknown algorithm 'mop'; did you mean 'mopo'?"),
        (["train", "mopo", "hopper-medium", "--set", "penaltyweight=1"], "did you mean 'penalty_weight'?"),
        (["train", "mopo", "hopper-medium", "--set", "penalty_weight"], "--set needs key=value"),
        (["train", "mopo", "hopper-medium", "--set", "penalty_weight=-1"], "greater than or equal to 0"),
        (["train", "mopo", "hopper-medium", "--set", "horizon=0"], "greater than or equal to 1"),
        (["train", "mopo", "hopper-medium", "--preset", "oficial-v0"], "did you mean 'official-v0'?"),
        (["train", "bc", "hopper-medium", "--source", "d4lr"], "unknown data source 'd4lr'; did you mean 'd4rl'?"),
        (["train", "bc", "hopper-medium", "--steps", "7000"], "not a multiple of the 5000 between evaluations"),
        (["sweep", "absent.toml"], "cannot read the suite absent.toml: no such file"),
        (["table", "absent"], "absent is not a folder"),
        (["plot", "absent"], "absent is not a folder"),
        (["evaluate", "absent"], "absent holds no run"),
        (["video", "absent"], "absent holds no run"),
        (["video", "absent", "--size", "31", "30"], "even numbers of pixels"),
        (["export", "absent", "--policy", "p.npz"], "absent is not a folder"),
        (["push", "absent", "me/x"], "absent holds no run"),
        (["schema", "suit"], "suit"),
        (["algorithms", "moppo"], "did you mean 'mopo'?"),
        (["data", "build", "hopper-medum"], "did you mean 'hopper-medium'?"),
        (["data", "collect", "hoper"], "unknown robot 'hoper'; did you mean 'hopper'?"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    args: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *args) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("error: ")
    assert "\n" not in error


def test_a_demanded_gpu_that_is_absent_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import jax

    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU here")
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "train", "bc", "hopper-medium", "--source", "synthetic", "--device", "gpu") == 2
    assert "no gpu is available to JAX (it sees: cpu)" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="folders have other permissions there")
def test_an_output_folder_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    out = str(tmp_path / "file" / "run")
    assert run(monkeypatch, "train", "bc", "hopper-medium", "--source", "synthetic", "--out", out) == 2
    assert f"cannot write to {out}" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.medium
def test_a_full_disk_is_one_clear_line_and_leaves_earlier_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from offline_mbrl.storage import records

    train = ["train", "bc", "hopper-medium", "--source", "synthetic", "--size", "300", "--steps", "20"]
    train += ["--evaluate-every", "10", "--episodes", "1", "--set", "hidden=[8,8]", "--out", str(tmp_path / "run")]
    append = records.append_records
    calls = []

    def full(path: Path, lines: object) -> None:
        calls.append(path)
        if len(calls) > 2:  # the second period
            raise OSError(28, "No space left on device", str(path))
        append(path, lines)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(records, "append_records", full)
        assert run(patch, *train) == 2
    assert "error: no space left on device" in capsys.readouterr().err
    assert [record["step"] for record in records.read_records(tmp_path / "run" / records.SCORES)] == [10]
    assert records.job_status(tmp_path / "run") == "failed"
    assert run(monkeypatch, *train) == 0  # room was made: the same command goes on
    assert [record["step"] for record in records.read_records(tmp_path / "run" / records.SCORES)] == [10, 20]


@pytest.mark.medium
def test_doctor_finds_this_machine_sound(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "doctor", "--cache-dir", str(tmp_path / "cache"), "--data-dir", str(tmp_path)) == 0
    text = capsys.readouterr().out
    assert "FAIL" not in text
    assert "hopper weighs 3.6" in text or "kg under d4rl-v2" in text
    assert str(tmp_path) in text
