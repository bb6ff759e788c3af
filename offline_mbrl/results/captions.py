"""What stands below a table: how its numbers came about, on what data, made with what."""

from collections.abc import Iterable, Mapping, Sequence

from offline_mbrl.results.groups import Group, differences, made_with, short_fingerprint
from offline_mbrl.results.query import Column, DataSummary
from offline_mbrl.results.statistics import RULES

LOST_COUNT = (
    "A diverged or failed seed counts with the last score it had, or 0, the random policy's, where it had none."
)
SURVIVORS = "Diverged and failed seeds are left out: the means are the survivors'."


def describe_cells(groups: Sequence[Group], columns: Mapping[Column, DataSummary], labels: Mapping[Column, str]) -> str:
    """The caption of the scores' table."""
    sentences = [
        "Normalized score, mean ± sample standard deviation over seeds.",
        *(_describe_column(labels[column], column, dataset) for column, dataset in columns.items()),
        f"Trained for {_describe_steps(groups)} gradient steps with "
        f"{_values(len(group.curves) for group in groups)} seeds.",
        f"A seed's score is the {RULES[groups[0].rule].words} over its {_describe_evaluations(groups)} × "
        f"{_values(group.settings['episodes'] for group in groups)} episodes of the deterministic policy"
        f"{_describe_span(groups)}.",
        "Row 'data': average score of the data set's episodes.",
        *describe_lost(groups),
        *describe_provenance(groups),
    ]
    return " ".join(sentences)


def describe_lost(groups: Sequence[Group]) -> list[str]:
    """What became of diverged and failed seeds, where there are any."""
    if not any(group.count("diverged") + group.count("failed") for group in groups):
        return []
    return [SURVIVORS if any(group.survivors for group in groups) else LOST_COUNT]


def describe_provenance(groups: Sequence[Group]) -> list[str]:
    """What was pooled on request, and what else differs between the cells."""
    pooled = {name: values for group in groups for name, values in differences(group.curves).items()}
    curves = [curve for group in groups for curve in group.curves]
    varying = {name: values for name, values in differences(curves).items() if name not in pooled}
    sentences = [f"Made with {_made_with(groups)}."]
    if pooled:
        listed = "; ".join(f"{name} ({', '.join(values)})" for name, values in pooled.items())
        sentences.append(f"Pooled as asked over seeds that differ in {listed}.")
    if varying:
        sentences.append(f"Cells differ in {', '.join(varying)}: compare them with care.")
    return sentences


def _made_with(groups: Sequence[Group]) -> str:
    """As `offline-mbrl 0.1.0, commit cbdd541c51af, precision default, on x86_64 CPU`."""
    by_fact: dict[str, dict[str, None]] = {}
    for group in groups:
        for curve in group.curves:
            for name, value in made_with(curve).items():
                by_fact.setdefault(name, {})[str(value)] = None
    words = {name: " or ".join(sorted(values)) for name, values in by_fact.items()}
    named = [f"{name} {words[name]}" for name in ("offline-mbrl", "commit", "precision") if name in words]
    return ", ".join([*named, f"on {words.get('device', 'unknown')}"])


def used_evaluations(group: Group) -> int | None:
    """How many evaluations the scores of trained seeds are means of; None where no seed was trained to the end."""
    counts = [len(curve.scores) for curve in group.curves if curve.status == "finished"]
    return min(RULES[group.rule].last, *counts) if counts else None


def _describe_column(label: str, column: Column, dataset: DataSummary) -> str:
    rows = "" if dataset.rows is None else f"{dataset.rows:,} transitions, "
    data = f"{dataset.name} ({rows}fingerprint {short_fingerprint(column.fingerprint)})"
    origin = "" if dataset.physics in (None, column.physics) else f", made under {dataset.physics} physics"
    return f"{label}: {column.source} data {data}{origin}, {column.physics} physics."


def _describe_steps(groups: Iterable[Group]) -> str:
    """As `4,000`, or `2,000 (bc, iql) or 4,000 (mopo)` where algorithms differ."""
    takers: dict[int, dict[str, None]] = {}
    for group in groups:
        takers.setdefault(int(str(group.settings["steps"])), {})[group.row[0]] = None
    if len({tuple(names) for names in takers.values()}) == 1:
        return _values(takers)
    return " or ".join(f"{steps:,} ({', '.join(names)})" for steps, names in sorted(takers.items()))


def _describe_evaluations(groups: Sequence[Group]) -> str:
    """How many evaluations went into a score, said plainly where there were fewer than the protocol asks for."""
    trained = _trained(groups)
    used, asked = {used_evaluations(group) for group in trained}, {RULES[group.rule].last for group in groups}
    if used <= asked:
        return f"last {_values(asked)} evaluations"
    return f"last {_values(used)} evaluations (fewer than {_values(asked)} were made)"


def _describe_span(groups: Iterable[Group]) -> str:
    """The share of training that the evaluations behind a score span: ten of a short run may be all of it."""
    spans = {_span(group) for group in _trained(groups)}
    if not spans:
        return ""
    shares = " or ".join(f"{share:.3g} %" for share in sorted(spans))
    return f", which span {shares} of training"


def _span(group: Group) -> float:
    """In percent."""
    steps, period = int(str(group.settings["steps"])), int(str(group.settings["evaluate_every"]))
    return 100 * min(1.0, (used_evaluations(group) or 0) * period / steps)


def _trained(groups: Iterable[Group]) -> list[Group]:
    """Those with a seed that was trained to the end."""
    return [group for group in groups if group.count("finished")]


def _values(values: Iterable[object]) -> str:
    """Distinct numbers in order: "4" or "2 or 4"."""
    distinct = sorted({int(str(value)) for value in values})
    return " or ".join(f"{value:,}" for value in distinct)
