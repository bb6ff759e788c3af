"""The site has the report of the anchors' sweep, made anew from the records: one page that needs nothing else."""

from pathlib import Path
from typing import Any

from offline_mbrl.results.published import SHIPPED
from offline_mbrl.results.report.page import write_report

RECORDS = Path(__file__).parents[2] / "experiments" / "results" / "anchors"


def on_post_build(config: Any) -> None:
    """Writes it beside the pages, where docs/anchors.md links to it."""
    write_report([RECORDS], Path(config["site_dir"]) / "anchors-report.html", SHIPPED, "Every system, small")
