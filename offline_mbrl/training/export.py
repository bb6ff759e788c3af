"""Policies out of the folder of a run, without its data and its fits."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from offline_mbrl.algorithms.export import SavedState
from offline_mbrl.errors import UserError
from offline_mbrl.nn.plain import PlainActor, Policy
from offline_mbrl.storage import records
from offline_mbrl.tasks import get_task
from offline_mbrl.training.job import Job, read_job
from offline_mbrl.training.saving import read_saved
from offline_mbrl.training.system import configured

LICENSES = {
    "builtin": "Apache-2.0; medium data are played by D4RL's policies, CC BY 4.0 (Fu et al. 2020, arXiv 2004.07219)",
    "policy": "that of the policy's file; D4RL's are CC BY 4.0 (Fu et al. 2020, arXiv 2004.07219)",
    "d4rl": "CC BY 4.0 (Fu et al. 2020, arXiv 2004.07219)",
    "minari": "see the card of the Minari data set",
    "synthetic": "Apache-2.0",
}
"""Of the data that a run was trained on, by source."""


def export_policies(run: Path, seeds: Sequence[int] | None = None) -> dict[int, dict[str, Policy]]:
    """The policies of a run's last checkpoint, by seed and way of acting ("" where there is one).

    Args:
      run: the run's folder.
      seeds: whose policies; all of them when None.

    Raises:
      UserError: there is no run or checkpoint, a seed was not trained, or the system's policy is no plain network.
    """
    job = read_job(run)
    step, state = read_saved(run)
    chosen = job.seeds if seeds is None else tuple(seeds)
    unknown = [seed for seed in chosen if seed not in job.seeds]
    if unknown:
        raise UserError(f"seed {unknown[0]} was not trained; this run has {', '.join(map(str, job.seeds))}")
    lost = records.diverged_seeds(run)
    found = {}
    for seed in chosen:
        row = job.seeds.index(seed)
        about = describe(job, run, step) | {"seed": seed, "diverged": seed in lost}
        own = jax.tree.map(lambda leaf, row=row: leaf[row], state)
        found[seed] = {name: Policy(actor, about | {"variant": name}) for name, actor in _actors(job, own).items()}
    return found


def export_policy(run: Path, seed: int | None = None, variant: str | None = None) -> Policy:
    """One policy of a run: of its first seed and the way of acting it is trained for, where nothing else is said.

    Raises:
      UserError: as `export_policies`; or the way of acting is none that can be taken away: the line names those.
    """
    job = read_job(run)
    chosen = job.seeds[0] if seed is None else seed
    policies = export_policies(run, [chosen])[chosen]
    wanted = own_variant(job, policies) if variant is None else variant
    if wanted not in policies:
        raise UserError(
            f"{job.algorithm}'s '{wanted}' searches at every observation, which is no plain network; what can be taken "
            f"away: {', '.join(policies)} (--variant)"
        )
    return policies[wanted]


def own_variant(job: Job, policies: Mapping[str, Any]) -> str:
    """The name of the way of acting that the run itself means."""
    return "" if "" in policies else str(job.config.get("variant", ""))


def describe(job: Job, run: Path, step: int) -> dict[str, Any]:
    """What a policy of the run is: enough to judge it without the run."""
    environment = records.read_json(run / records.ENVIRONMENT, missing={})
    data = environment.get("dataset", {})
    names = ("name", "source", "physics", "fingerprint", "rows", "score_mean")
    return {
        "algorithm": job.algorithm,
        "algorithm_version": job.algorithm_version,
        "task": job.task,
        "physics": job.physics,
        "job": job.id,
        "step": step,
        "steps": job.steps,
        "config": job.model_dump(mode="json")["config"],
        "data": {name: data.get(name) for name in names},
        "data_license": LICENSES.get(re.split("[:-]", data.get("source") or job.source)[0], "unknown"),
        "versions": environment.get("versions", {}),
    }


def _actors(job: Job, state: SavedState) -> Mapping[str, PlainActor]:
    system = configured(job.algorithm, get_task(job.task), job.config, job.steps)
    try:
        return system.definition.policies(system.problem, system.config, state)
    except (LookupError, TypeError) as error:
        reason = f"the system '{job.algorithm}' does not say where its policy is ({error})"
        raise UserError(f"{reason}; give its Definition `policies`") from error


def generator(deterministic: bool, key: int) -> np.random.Generator | None:
    """What draws a policy's actions; None for their mean."""
    return None if deterministic else np.random.default_rng(key)
