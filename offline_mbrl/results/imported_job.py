"""A seed of an imported file as the folder that a run leaves."""

import hashlib
import json
from pathlib import Path

from offline_mbrl.results.evaluation_rows import to_rows
from offline_mbrl.results.query import PROTOCOL, Curve
from offline_mbrl.storage.files import naming
from offline_mbrl.storage.formats import FORMAT
from offline_mbrl.storage.records import (
    DIVERGED,
    DONE,
    ENVIRONMENT,
    FAILED,
    JOB,
    SCORES,
    append_records,
    write_json,
)


def write_job(curve: Curve, out: Path, origin: str) -> bool:
    """Writes a job's folder of one seed, as a run leaves it; False where it is there already."""
    digest = hashlib.sha256(json.dumps(list(to_rows(curve)), sort_keys=True).encode()).hexdigest()[:12]
    folder = out / f"{curve.algorithm}-{curve.column.task}-{digest}"
    if (folder / JOB).exists():
        return False
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    (folder / SCORES).unlink(missing_ok=True)
    variant = {"variant": curve.settings["variant"]} if "variant" in curve.settings else {}
    points = zip(curve.at, curve.scores, strict=True)
    append_records(
        folder / SCORES, [{"seed": curve.seed, "step": step, "score": score, **variant} for step, score in points]
    )
    write_json(folder / ENVIRONMENT, {**_environment(curve), "imported_from": origin})
    if curve.status == "diverged":
        lost = {"seed": curve.seed, "step": (curve.at or [0])[-1], "quantity": "not in the imported file"}
        write_json(folder / DIVERGED, [lost])
    if curve.status != "unfinished":
        (folder / (FAILED if curve.status == "failed" else DONE)).touch()
    write_json(folder / JOB, _job(curve, digest))  # last: a folder without it is no job
    return True


def _job(curve: Curve, digest: str) -> dict[str, object]:
    return {
        "id": digest,
        "format": FORMAT,
        "algorithm": curve.algorithm,
        "algorithm_version": curve.provenance["algorithm_version"],
        "task": curve.column.task,
        "source": curve.column.source,
        "physics": curve.column.physics,
        "seeds": [curve.seed],
        **{name: curve.settings[name] for name in PROTOCOL},
        "config": {name: value for name, value in curve.settings.items() if name not in (*PROTOCOL, "variant")},
    }


def _environment(curve: Curve) -> dict[str, object]:
    return {
        "device": curve.provenance["device"],
        "versions": {"offline-mbrl": curve.provenance["offline-mbrl"]},
        "git_commit": curve.provenance["commit"],
        "dataset": {
            "name": curve.dataset.name,
            "source": curve.column.source,
            "physics": curve.dataset.physics,
            "fingerprint": curve.column.fingerprint,
            "rows": curve.dataset.rows,
            "score_mean": curve.dataset.score_mean,
            "score_std": curve.dataset.score_std,
        },
    }
