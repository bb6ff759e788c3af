"""Policies to take away, each with a card that says what it is."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from offline_mbrl.errors import UserError
from offline_mbrl.nn.plain import Policy
from offline_mbrl.results.groups import reported_score
from offline_mbrl.results.intervals import t_interval
from offline_mbrl.results.numbers import Style, plain, with_interval
from offline_mbrl.results.query import Curve, read_curves
from offline_mbrl.storage.files import write_text, writing
from offline_mbrl.training.export import export_policy
from offline_mbrl.training.onnx_file import write_onnx

STYLE = Style(1)

USE = """```python
import offline_mbrl as om

policy = om.load_policy("{file}")
action = policy(observation)  # NumPy in, NumPy out; [d] or [B, d]
print(om.evaluate(policy, "{task}", episodes=10).scores)
```"""


def write_policy(run: Path, out: Path, seed: int | None = None, variant: str | None = None) -> list[Path]:
    """Writes a run's policy as `out`, .npz or .onnx, and its card beside it; returns both paths.

    Raises:
      UserError: there is no such policy, or `out` is neither.
    """
    if out.suffix not in (".npz", ".onnx"):
        raise UserError(f"a policy is written as .npz or .onnx, not as {out.name}")
    policy = export_policy(run, seed, variant)
    with writing(out, "choose another --policy"):
        if out.suffix == ".npz":
            policy.save(out)
        else:
            write_onnx(policy, out)
        write_text(out.with_suffix(".md"), card(run, policy, out.name))
    return [out, out.with_suffix(".md")]


def card(run: Path, policy: Policy, file: str) -> str:
    """The model card, in the Hugging Face Hub's form: what it is, its scores, settings, license of the data."""
    about, curves = policy.about, read_curves([run])
    parts = [*_front(about), *_facts(about, file), *_scores(about, curves), *_settings(about)]
    return "\n".join(parts) + "\n"


def _front(about: Mapping[str, Any]) -> Iterator[str]:
    yield "---"
    yield "library_name: offline-mbrl"
    yield "license: other"
    yield "tags: [reinforcement-learning, offline-reinforcement-learning, d4rl, mujoco]"
    yield "---"


def _facts(about: Mapping[str, Any], file: str) -> Iterator[str]:
    data = about["data"]
    yield f"# {about['algorithm']} on {about['task']}"
    yield ""
    content = f"source {data['source']}, fingerprint `{data['fingerprint']}`"
    yield (
        f"A policy trained offline by `{about['algorithm']}` for {about['step']:,} of {about['steps']:,} gradient "
        f"steps on {data['name']} ({content}), {about['physics']} physics."
    )
    if about["variant"]:
        yield ""
        yield (
            f"It acts as `{about['variant']}`: what searches at every observation is no plain network, and is not here."
        )
    yield ""
    yield f"License of the data: {about['data_license']}."
    yield ""
    yield USE.format(file=file.replace(".onnx", ".npz"), task=about["task"])


def _scores(about: Mapping[str, Any], curves: list[Curve]) -> Iterator[str]:
    """The run's own scores; a seed's is the mean of its last evaluations."""
    own = [curve for curve in curves if curve.settings.get("variant", "") == about["variant"]]
    yield "\n## Scores\n"
    yield "Normalized as D4RL's: 0 is the random policy, 100 the expert. Mean of a seed's last evaluations.\n"
    yield "| seed | score | state |"
    yield "|---:|---:|---|"
    for curve in own:
        here = " (this one)" if curve.seed == about["seed"] else ""
        yield f"| {curve.seed}{here} | {plain(reported_score(curve), STYLE)} | {curve.status} |"
    if own:
        yield f"\nMean over seeds: {with_interval(t_interval([*map(reported_score, own)]), STYLE)}."


def _settings(about: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## Settings\n"
    yield f"```json\n{json.dumps(about['config'], indent=2)}\n```"
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    yield f"\nRun `{about['job']}`, made with {versions or 'versions that were not recorded'}."
