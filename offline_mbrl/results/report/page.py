"""The report: one HTML file that needs no network, made from folders of runs."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from offline_mbrl.errors import UserError
from offline_mbrl.results.captions import describe_cells
from offline_mbrl.results.groups import group_curves
from offline_mbrl.results.layout import as_html
from offline_mbrl.results.numbers import Style
from offline_mbrl.results.published import Record, lay_out_differences, lay_out_published
from offline_mbrl.results.published import read as read_published
from offline_mbrl.results.report import curves, digits, facts, overall, robustness, scores, theme, trust, versus
from offline_mbrl.results.report.gather import Gathered, gather
from offline_mbrl.results.report.sheet import Sheet
from offline_mbrl.results.report.videos import films
from offline_mbrl.storage.files import write_text

NEEDS = "the report needs Jinja2 and Plotly; install them with: pip install 'offline-mbrl[report]'"


def write_report(
    run_dirs: Sequence[Path],
    path: Path,
    published: Path | None = None,
    title: str | None = None,
    *,
    pool: bool = False,
) -> Path:
    """Writes the page about all jobs below `run_dirs` to `path`, which is returned.

    Args:
        run_dirs: folders that hold runs, at any depth.
        path: the HTML file.
        published: a CSV of other people's scores, for the map of differences.
        title: of the page; the name of the first folder when absent.
        pool: whether seeds made on different devices, or with different versions, share a row.

    Raises:
        UserError: there is nothing to show, a library is missing, or `published` cannot be read.
    """
    gathered = gather(run_dirs)
    theirs = read_published(published) if published else []
    context = page_context(gathered, theirs, pool) | {"title": title or run_dirs[0].resolve().name}
    write_text(path, render(context))
    return path


def page_context(gathered: Gathered, published: Sequence[Record], pool: bool = False) -> dict[str, Any]:
    """All that the template names, but the page's title."""
    sheet = Sheet(group_curves(gathered.curves, pool=pool))
    found = overall.overall(sheet)
    theirs = versus.fitting(sheet, published)
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "conclusion": overall.conclusion(found),
        "set_aside": overall.set_aside(found, sheet),
        "counts": _counts(gathered, sheet),
        "columns": [(column.task, name) for column, name in sheet.column_names.items()],
        "lines": scores.lines(sheet, found),
        "data_cells": scores.data_cells(sheet),
        "caption": describe_cells(sheet.groups, sheet.columns, sheet.column_names),
        "compared": found,
        "against": _published_tables(sheet, theirs),
        "trust": trust.trust(gathered),
        "costs": facts.costs(gathered.jobs),
        "failures": facts.failures(gathered),
        "cards": facts.cards(gathered.jobs),
        "provenance": facts.provenance(gathered.jobs),
        "jobs": gathered.jobs,
        "films": films(gathered.jobs),
        "robustness": robustness.section(gathered),
        "left_out": gathered.left_out,
        "digits": digits,
        "data": _chart_data(gathered, sheet, found, theirs),
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
    gathered: Gathered, sheet: Sheet, found: overall.Overall | None, theirs: Sequence[Record]
) -> dict[str, Any]:
    """What the page's script draws from."""
    return {
        "rows": list(sheet.row_names.values()),
        "columns": list(sheet.column_names.values()),
        "dataScores": [dataset.score_mean for dataset in sheet.columns.values()],
        "curves": curves.learning_curves(sheet),
        "aggregates": overall.chart(found, sheet),
        "against": versus.chart(sheet, theirs),
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


def _published_tables(sheet: Sheet, theirs: Sequence[Record]) -> list[str]:
    """Differences with intervals, and the published scores with their protocols, as elements; none without records."""
    if not theirs:
        return []
    tasks = list(dict.fromkeys(column.task for column in sheet.columns))
    tables = (lay_out_differences(theirs, sheet.groups, Style(1)), lay_out_published(theirs, tasks, versus.VERSION))
    return list(map(as_html, tables))


def _style() -> str:
    light, dark = theme.css_variables(theme.LIGHT), theme.css_variables(theme.DARK)
    return _file("report.css").replace("/* LIGHT */", light).replace("/* DARK */", dark)


def _file(name: str) -> str:
    return (resources.files("offline_mbrl.results.report") / "templates" / name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    """JSON that no HTML parser takes for the end of its element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
