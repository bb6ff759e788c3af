"""What came out of one run, in a few lines: scores, what they compare to, what it took, and what to do next."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from offline_mbrl.errors import UserError
from offline_mbrl.progress import duration
from offline_mbrl.results.groups import reported_score
from offline_mbrl.results.intervals import t_interval
from offline_mbrl.results.numbers import Style, plain, with_interval
from offline_mbrl.results.published import SHIPPED, read, select
from offline_mbrl.results.query import Curve, read_curves
from offline_mbrl.results.report.digits import plural
from offline_mbrl.results.statistics import LEVEL
from offline_mbrl.storage import records

STYLE = Style(1)


def outcome(folder: Path) -> str:
    """The lines that `train` ends with, from the records of the run in `folder`.

    Raises:
      UserError: its files are damaged, or nothing was evaluated.
    """
    job, environment = records.read_json(folder / records.JOB), records.read_json(folder / records.ENVIRONMENT)
    curves = read_curves([folder])
    title = f"{job['algorithm']} on {job['task']}, {plural(len(job['seeds']), 'seed')}, {job['steps']:,} steps"
    return "\n".join([title, *_scores(curves), *_beside(job, environment), *_cost(job, environment), *_next(folder)])


def _scores(curves: Sequence[Curve]) -> Iterator[str]:
    """One block for each way of acting: every seed, then their mean with its interval."""
    for variant in dict.fromkeys(str(curve.settings.get("variant", "")) for curve in curves):
        own = [curve for curve in curves if curve.settings.get("variant", "") == variant]
        final = [reported_score(curve) for curve in own]
        seeds = ", ".join(f"seed {curve.seed}: {_score(curve)}" for curve in own)
        about = t_interval(final)
        meaning = "" if about.low is None else f", {100 * LEVEL:.0f} % interval over seeds"
        name = f"{variant} score" if variant else "score"
        yield f"  {name} {with_interval(about, STYLE)}{meaning}; {seeds}"
    yield "  a seed's score is the mean of its last evaluations; 0 is the random policy, 100 D4RL's expert"


def _score(curve: Curve) -> str:
    said = plain(reported_score(curve), STYLE)
    return said if curve.status == "finished" else f"{said} ({curve.status})"


def _beside(job: Mapping[str, Any], environment: Mapping[str, Any]) -> Iterator[str]:
    """What the score compares to: the data's own episodes, and other people's scores on D4RL's files."""
    data = environment["dataset"]
    if data.get("score_mean") is not None:
        yield f"  data: {plain(data['score_mean'], STYLE)}, the average of {data['name']} ({data.get('source')})"
    theirs = [float(one["mean"]) for one in select(read(SHIPPED), [job["algorithm"]], [job["task"]], "v2")]
    if theirs:
        ends = dict.fromkeys(plain(score, STYLE) for score in (min(theirs), max(theirs)))
        yield f"  published, on D4RL's own files at full length: {' to '.join(ends)}"


def _cost(job: Mapping[str, Any], environment: Mapping[str, Any]) -> Iterator[str]:
    seconds = environment.get("seconds", {})
    if not seconds:
        return
    parts = ", ".join(f"{name} {duration(taken)}" for name, taken in seconds.items())
    yield f"  took {duration(sum(seconds.values()))} on {environment['device']}: {parts}"
    if seconds.get("train"):
        rate = job["steps"] * len(job["seeds"]) / seconds["train"]
        yield f"  {rate:,.0f} gradient steps/s over all seeds while training"


def _next(folder: Path) -> Iterator[str]:
    yield f"  everything is in {folder}"
    yield f"next: offline-mbrl evaluate {folder} --episodes 100"
    yield f"      offline-mbrl plot {folder} --out curves.png"


def one_line(folder: Path) -> str:
    """The score alone, for those who want little said."""
    try:
        scores = [reported_score(curve) for curve in read_curves([folder])]
    except UserError:
        return f"{folder}: no score"
    return f"{folder}: score {plain(t_interval(scores).value, STYLE)}"
