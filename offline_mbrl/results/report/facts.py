"""What stands in the records beside the scores: cost, failures, data and provenance, as rows of plain text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offline_mbrl.results.groups import short_fingerprint
from offline_mbrl.results.report import digits
from offline_mbrl.results.report.gather import Gathered, JobFolder

SOURCES = {
    "builtin": "generated here by the package's own behavior policies; not D4RL's files",
    "synthetic": "synthetic; for tests of the machinery alone",
    "d4rl-v2": "D4RL's official file, by its checksum",
    "d4rl-unofficial": "unverified: a file in D4RL's layout that is none of the official ones",
    "minari": "read from a Minari data set",
}


@dataclass(frozen=True)
class Cost:
    """What one job took, as far as its records say."""

    job: str
    seeds: int
    steps: int
    seconds: float | None
    parts: str
    memory: float | None
    device: str
    precision: str

    @property
    def rate(self) -> float | None:
        """Gradient steps a second, summed over seeds, of the whole run."""
        return self.steps * self.seeds / self.seconds if self.seconds else None


@dataclass(frozen=True)
class Failure:
    """A job or a seed that did not come to its end."""

    job: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Card:
    """One data set: its name, where it comes from, and its figures."""

    name: str
    origin: str
    figures: Sequence[tuple[str, str]]


def costs(jobs: Iterable[JobFolder]) -> list[Cost]:
    """One line per job that has begun."""
    return [_cost(job) for job in jobs if job.environment]


def failures(gathered: Gathered) -> list[Failure]:
    """Failed jobs and diverged seeds with their one-line reasons, then jobs that are not done."""
    failed = [Failure(job.name, "failed", job.failure) for job in gathered.jobs if job.status == "failed"]
    diverged = [
        Failure(f"{job.name}, seed {entry['seed']}", "diverged", _divergence(entry))
        for job in gathered.jobs
        for entry in job.diverged
    ]
    last = {name: max((record["step"] for record in found), default=0) for name, found in gathered.metrics.items()}
    unfinished = [
        Failure(job.name, "unfinished", f"at {last.get(job.name, 0):,} of {job.job['steps']:,} steps")
        for job in gathered.jobs
        if job.status == "unfinished" and job.environment
    ]
    return failed + diverged + unfinished


def cards(jobs: Iterable[JobFolder]) -> list[Card]:
    """One card for each different data set."""
    found = {job.environment["dataset"]["fingerprint"]: _card(job) for job in jobs if job.environment}
    return sorted(found.values(), key=lambda card: card.name)


def provenance(jobs: Iterable[JobFolder]) -> list[tuple[str, list[tuple[str, int]]]]:
    """For each fact about how jobs were made its values and how many jobs have each; several values are told apart."""
    begun = [job for job in jobs if job.environment]
    facts: dict[str, dict[str, int]] = {}
    for job in begun:
        for name, value in _made_with(job).items():
            counts = facts.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
    return [(name, sorted(counts.items(), key=lambda entry: -entry[1])) for name, counts in facts.items()]


def _cost(job: JobFolder) -> Cost:
    seconds, parts = _seconds(job.done.get("seconds", job.environment.get("seconds")))
    return Cost(
        job.name,
        len(job.job["seeds"]),
        job.job["steps"],
        seconds if job.status == "finished" else None,
        parts,
        _number(job.done.get("peak_memory_bytes", job.environment.get("peak_memory_bytes"))),
        _device(job.environment),
        job.job["precision"],
    )


def _seconds(recorded: object) -> tuple[float | None, str]:
    """The wall time, and its parts in words where the record has them by name."""
    if isinstance(recorded, Mapping):
        parts = {name: value for name, value in recorded.items() if isinstance(value, int | float)}
        words = ", ".join(f"{name} {digits.duration(value)}" for name, value in parts.items())
        return (sum(parts.values()) or None, words)
    return _number(recorded), ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _device(environment: Mapping[str, Any]) -> str:
    device = str(environment.get("device", environment.get("platform", "not recorded")))
    cores = environment.get("cores")
    return f"{device}, {digits.plural(cores, 'core')}" if isinstance(cores, int) else device


def _divergence(entry: Mapping[str, Any]) -> str:
    value = f" became {entry['value']}" if entry.get("value") else " grew without bound"
    return f"{entry['quantity']}{value} at step {entry['step']:,}"


def _card(job: JobFolder) -> Card:
    data = job.environment["dataset"]
    source, physics = str(data.get("source", job.job["source"])), data.get("physics", job.job["physics"])
    figures = [
        ("transitions", digits.count(data.get("rows"))),
        ("episodes", digits.count(data.get("episodes"))),
        ("score of its episodes", f"{digits.score(data.get('score_mean'))} ± {digits.score(data.get('score_std'))}"),
        ("physics", str(physics)),
        ("fingerprint", short_fingerprint(data["fingerprint"])),
    ]
    origin = SOURCES.get(source.partition(":")[0], "see its own documentation")
    return Card(data["name"], f"{source}: {origin}", figures)


def _made_with(job: JobFolder) -> dict[str, str]:
    versions = job.environment.get("versions", {})
    facts = {
        "commit": job.environment.get("git_commit") or "not recorded",
        "device": _device(job.environment),
        "precision": job.job["precision"],
        "XLA flags": job.environment.get("xla_flags") or "none",
        "algorithm version": f"{job.job['algorithm']} {job.job.get('algorithm_version', 'not recorded')}",
    }
    return {name: str(value) for name, value in (facts | versions).items()}
