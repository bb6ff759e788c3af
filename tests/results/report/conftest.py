"""A browser, a page of a small sweep in it, and what the browser had to say."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from offline_mbrl.results.published import find_published
from offline_mbrl.results.report.page import write_report
from tests.results.report.made_up import write_job, write_sweep

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three systems on three tasks with four seeds; a fourth has diverged seeds on one task alone."""
    out = write_sweep(
        tmp_path_factory.mktemp("results"),
        ("bc", "combo", "mopo"),
        ("hopper-medium", "hopper-medium-replay", "walker2d-random"),
        4,
        20,
    )
    lost = write_job(out / "rambo-lost", "rambo", "hopper-medium", range(2), 20, 20.0)
    (lost / "diverged.json").write_text('[{"seed": 1, "step": 50000, "quantity": "critic_loss", "value": "inf"}]')
    return out


@pytest.fixture(scope="session")
def report(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page about `results`."""
    return write_report([results], tmp_path_factory.mktemp("report") / "report.html", find_published("builtin"))


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Chromium from the system's packages, without a network."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM}; apt-get install chromium")
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def said() -> list[str]:
    """Errors and warnings of the page."""
    return []


@pytest.fixture
def page(browser: "Browser", report: Path, said: list[str]) -> Iterator["Page"]:
    """The report, opened in a window of 1280 pixels."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(report.as_uri())
    yield page
    context.close()
