"""Policies taken away from a run's folder, judged and described."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import offline_mbrl as om
from offline_mbrl.errors import UserError
from offline_mbrl.results import hub
from offline_mbrl.results.policies import write_policy
from offline_mbrl.storage import records
from offline_mbrl.training.export import export_policies, export_policy
from offline_mbrl.training.job import Paths, make_job
from offline_mbrl.training.onnx_file import write_onnx
from offline_mbrl.training.opening import open_run
from offline_mbrl.training.reevaluate import EVALUATIONS, reevaluate
from offline_mbrl.training.run import run_job
from tests.training.tiny import TINY_BC

pytestmark = pytest.mark.medium

OBS = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two seeds."""
    out = tmp_path_factory.mktemp("runs") / "bc"
    settings: dict[str, Any] = {"source": "synthetic", "size": 300, "evaluate_every": 10, "episodes": 1}
    run_job(make_job("bc", "hopper-medium", steps=20, overrides=TINY_BC, seeds=(3, 4), **settings), out, Paths())
    return out


def test_a_policy_of_a_folder_acts_as_the_trained_one(run: Path) -> None:
    from offline_mbrl.training.job import read_job

    opened = open_run(read_job(run), run, Paths())
    expected = np.asarray(opened.program.act(opened.state, jnp.stack([OBS, OBS])))
    for row, seed in enumerate((3, 4)):
        np.testing.assert_allclose(om.load_policy(run, seed)(OBS), expected[row], atol=1e-6)


def test_it_needs_neither_data_nor_jax_programs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("data were loaded")

    monkeypatch.setattr("offline_mbrl.training.opening.load", fail)
    assert "mean over seeds" in reevaluate(run, 1, None, 0, Paths())


def test_what_was_evaluated_later_is_recorded(run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / EVALUATIONS).unlink(missing_ok=True)
    reevaluate(out, 2, "gymnasium-v4", 7, Paths())
    reevaluate(out, 1, None, 7, Paths())
    lines = records.read_log(out / EVALUATIONS)
    assert [(line["seed"], line["physics"], line["starts"], len(line["returns"])) for line in lines] == [
        (3, "gymnasium-v4", 7, 2),
        (4, "gymnasium-v4", 7, 2),
        (3, "d4rl-v2", 7, 1),
        (4, "d4rl-v2", 7, 1),
    ]


def test_a_file_is_judged_as_its_run_and_leaves_a_record(run: Path, tmp_path: Path) -> None:
    file, card = write_policy(run, tmp_path / "policy.npz", 4)
    reevaluate(file, 2, None, 0, Paths())
    (mine,) = records.read_log(tmp_path / f"policy.{EVALUATIONS}")
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / EVALUATIONS).unlink(missing_ok=True)
    reevaluate(out, 2, None, 0, Paths())
    assert mine["returns"] == records.read_log(out / EVALUATIONS)[1]["returns"]
    assert "| 4 (this one) |" in card.read_text()
    assert "License of the data: Apache-2.0." in card.read_text()


def test_a_policy_in_five_lines(run: Path, tmp_path: Path) -> None:
    write_policy(run, tmp_path / "policy.npz")
    policy = om.load_policy(tmp_path / "policy.npz")
    assert policy(OBS).shape == (5, 3)
    assert policy(OBS[0]).shape == (3,)
    assert om.evaluate(policy, "hopper-medium", episodes=2).scores.shape == (1, 2)
    assert policy.about["seed"] == 3


def test_an_unknown_seed_is_named(run: Path) -> None:
    with pytest.raises(UserError, match="seed 0 was not trained; this run has 3, 4"):
        export_policy(run, 0)


def test_an_onnx_model_acts_as_its_policy(run: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    policy = export_policy(run, 3)
    session = runtime.InferenceSession(str(write_onnx(policy, tmp_path / "p.onnx")), providers=["CPUExecutionProvider"])
    for rows in (OBS, OBS[:1]):
        (action,) = session.run(["action"], {"obs": rows})
        np.testing.assert_allclose(action, policy(rows), atol=1e-6)
    assert json.loads(session.get_modelmeta().custom_metadata_map["about"])["task"] == "hopper-medium"


def test_a_missing_package_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install 'offline-mbrl\[onnx\]'"):
        write_policy(run, tmp_path / "p.onnx")


class Hub:
    """What stands in for the Hub: keeps what it is given."""

    uploaded: dict[str, bytes]
    fails = False

    def __init__(self, **_: object) -> None:
        pass

    def create_repo(self, repository: str, **_: object) -> None:
        if Hub.fails:
            raise OSError("no route to host")

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        Hub.uploaded = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return f"hub/{repo_id}"


def test_a_run_is_pushed_with_card_policies_and_records(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert hub.push(run, "me/bc") == "hub/me/bc"
    assert set(Hub.uploaded) >= {"README.md", "policy-3.npz", "policy-4.npz", "job.json", "scores.jsonl"}
    assert b"library_name: offline-mbrl" in Hub.uploaded["README.md"]
    assert b'om.load_policy("policy-3.npz")' in Hub.uploaded["README.md"]


def test_a_hub_that_cannot_be_reached_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "fails", True)
    with pytest.raises(UserError, match=r"did not take me/bc \(no route to host\); log in with"):
        hub.push(run, "me/bc")


@pytest.mark.slow
def test_what_searches_as_it_acts_says_what_can_be_taken_away(tmp_path: Path) -> None:
    small = {"hidden": (8, 8), "batch_size": 16, "subsets": 4, "search_steps": 2, "ascent_steps": 2}
    settings: dict[str, Any] = {"source": "synthetic", "size": 300, "evaluate_every": 10, "episodes": 1}
    out = tmp_path / "drop"
    run_job(make_job("drop", "hopper-medium", steps=10, overrides=small, **settings), out, Paths())
    assert set(export_policies(out)[0]) == {"best", "grad"}
    assert export_policy(out, variant="grad")(OBS).shape == (5, 3)
    with pytest.raises(UserError, match=r"drop's 'grad-ada' searches at every observation.*: best, grad \(--variant\)"):
        export_policy(out)
    assert "mean over seeds" in reevaluate(out, 1, None, 0, Paths())  # by the system's own program
