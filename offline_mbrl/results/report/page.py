"""The report: one HTML file that needs no network, made from folders of runs."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from offline_mbrl.errors import UserError
from offline_mbrl.results.groups import group_curves
from offline_mbrl.results.published import read as read_published
from offline_mbrl.results.report import aggregates, curves, digits, facts, scores, theme, versus
from offline_mbrl.results.report.gather import Gathered, gather
from offline_mbrl.results.report.sheet import Sheet
from offline_mbrl.results.report.videos import films
from offline_mbrl.results.statistics import LAST_EVALUATIONS
from offline_mbrl.storage.files import write_text

NEEDS = "the report needs Jinja2 and Plotly; install them with: pip install 'offline-mbrl[report]'"


def write_report(run_dirs: Sequence[Path], path: Path, published: Path | None = None, title: str | None = None) -> Path:
    """Writes the page about all jobs below `run_dirs` to `path`, which is returned.

    Args:
        run_dirs: folders that hold runs, at any depth.
        path: the HTML file.
        published: a CSV of other people's scores, for the map of differences.
        title: of the page; the name of the first folder when absent.

    Raises:
        UserError: there is nothing to show, a library is missing, or `published` cannot be read.
    """
    gathered = gather(run_dirs)
    theirs = read_published(published) if published else []
    context = page_context(gathered, theirs) | {"title": title or run_dirs[0].resolve().name}
    write_text(path, render(context))
    return path


def page_context(gathered: Gathered, published: versus.Published) -> dict[str, Any]:
    """All that the template names, but the page's title."""
    sheet = Sheet(group_curves(gathered.curves))
    found = aggregates.aggregate(sheet)
    against = versus.differences(sheet, published)
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "conclusion": aggregates.conclusion(found),
        "counts": _counts(gathered, sheet),
        "columns": [(column.task, name) for column, name in sheet.column_names.items()],
        "lines": scores.lines(sheet, found),
        "data_cells": scores.data_cells(sheet),
        "caption": _caption(sheet),
        "compared": found,
        "against": against,
        "short": versus.short,
        "costs": facts.costs(gathered.jobs),
        "failures": facts.failures(gathered),
        "cards": facts.cards(gathered.jobs),
        "provenance": facts.provenance(gathered.jobs),
        "jobs": gathered.jobs,
        "films": films(gathered.jobs),
        "left_out": gathered.left_out,
        "digits": digits,
        "data": _chart_data(gathered, sheet, found, against),
    }


def render(context: dict[str, Any]) -> str:
    """The page, with its style, its script and the plotting library inside.

    Raises:
        UserError: Jinja2 or Plotly is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError(NEEDS) from error
    environment = Environment(
        loader=PackageLoader("offline_mbrl.results.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        context,
        style=_style(),
        script=_file("report.js"),
        plotly=get_plotlyjs(),
        json=_json(context["data"]),
    )


def _chart_data(
    gathered: Gathered, sheet: Sheet, found: aggregates.Aggregates | None, against: Sequence[versus.Line]
) -> dict[str, Any]:
    """What the page's script draws from."""
    return {
        "rows": list(sheet.row_names.values()),
        "columns": list(sheet.column_names.values()),
        "dataScores": [dataset.score_mean for dataset in sheet.columns.values()],
        "curves": curves.learning_curves(sheet),
        "aggregates": aggregates.chart(found),
        "against": versus.chart(sheet, against),
        "diagnostics": curves.diagnostics(sheet, gathered),
        "panels": curves.PANELS,
        "colors": theme.chart_colors(),
    }


def _counts(gathered: Gathered, sheet: Sheet) -> list[tuple[str, str]]:
    """The figures at the top of the page."""
    done = sum(job.status == "finished" for job in gathered.jobs)
    diverged = sum(len(job.diverged) for job in gathered.jobs)
    failed = sum(job.status == "failed" for job in gathered.jobs)
    return [
        (digits.count(len(sheet.rows)), "systems"),
        (digits.count(len(sheet.columns)), "tasks"),
        (digits.count(len(gathered.curves)), "trained seeds"),
        (f"{done:,} of {len(gathered.jobs):,}", "jobs finished"),
        (digits.count(failed), "jobs failed"),
        (digits.count(diverged), "seeds diverged"),
    ]


def _caption(sheet: Sheet) -> str:
    steps = sorted({int(str(group.settings["steps"])) for group in sheet.groups})
    length = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    episodes = sorted({int(str(group.settings["episodes"])) for group in sheet.groups})
    return (
        "Normalized score (0: uniform random policy, 100: expert), mean ± sample standard deviation over seeds. A seed's "
        f"score is the mean of its last {LAST_EVALUATIONS} evaluations, or of all where there are fewer, each of "
        f"{' or '.join(map(str, episodes))} episodes of the deterministic policy. Trained for {length} gradient steps."
    )


def _style() -> str:
    light, dark = theme.css_variables(theme.LIGHT), theme.css_variables(theme.DARK)
    return _file("report.css").replace("/* LIGHT */", light).replace("/* DARK */", dark)


def _file(name: str) -> str:
    return (resources.files("offline_mbrl.results.report") / "templates" / name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    """JSON that no HTML parser takes for the end of its element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
