"""The page in a real browser: it draws, sorts, filters, hides, fits a phone and a sheet of paper, without a network."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.medium

FIRST = "#curve-panels .chart"


def show(page: "Page", selector: str) -> None:
    """Scrolls to a chart and waits until it is drawn."""
    page.locator(selector).first.scroll_into_view_if_needed()
    page.wait_for_selector(f"{selector}[data-drawn]")


def lines(page: "Page") -> list[int]:
    """The systems whose lines the first panel shows."""
    shown: list[int] = page.evaluate(
        f"[...document.querySelector('{FIRST}').data].filter((t) => t.meta !== undefined).map((t) => t.meta)"
    )
    return shown


def column(page: "Page", place: int) -> list[str]:
    cells: list[str] = page.evaluate(
        "(place) => [...document.querySelectorAll('#score-table tbody tr')].map((row) => row.cells[place].textContent)",
        place,
    )
    return cells


def test_every_chart_is_drawn_and_the_console_stays_empty(page: "Page", said: list[str]) -> None:
    charts = page.locator(".chart")
    for place in range(charts.count()):
        charts.nth(place).scroll_into_view_if_needed()
    page.wait_for_function("document.querySelectorAll('.chart:not([data-drawn])').length === 0")
    assert charts.count() == 3 + 4 + 3 + 1 + 6
    assert page.locator(".chart svg.main-svg").count() >= charts.count()
    assert said == []


def test_a_button_of_the_legend_hides_a_line_and_shows_it_again(page: "Page") -> None:
    show(page, FIRST)
    drawn = page.locator(f"{FIRST} >> nth=0").locator("path.js-line")
    before, everything = drawn.count(), lines(page)
    button = page.locator("#curves .legend [data-row='1']")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert lines(page) == [row for row in everything if row != 1]
    assert drawn.count() < before
    button.press("Enter")  # the keyboard does what the mouse does
    assert lines(page) == everything


def test_a_button_hides_a_line_over_all_tasks_too(page: "Page") -> None:
    drawn = page.locator("#over-steps path.js-line")
    show(page, "#over-steps")
    before = drawn.count()
    page.locator("#aggregates .legend [data-row='0']").click()
    assert 0 < drawn.count() < before


def test_smoothing_changes_what_is_drawn_and_says_how(page: "Page") -> None:
    show(page, FIRST)
    values = f"document.querySelector('{FIRST}').data.find((t) => t.meta === 1).y"
    before = page.evaluate(values)
    page.locator("#smoothing").press("ArrowRight")
    after = page.evaluate(values)
    assert page.locator("#window").inner_text() == "last 2 evaluations"
    assert after[1] == pytest.approx((before[0] + before[1]) / 2)


def test_a_click_on_a_heading_sorts_best_first_and_a_second_turns_it_around(page: "Page") -> None:
    heading = page.locator("#score-table thead th:nth-child(3) button")
    heading.click()
    scores = [float(text.partition(" ±")[0].replace("−", "-").rstrip("†")) for text in column(page, 2)]
    assert scores == sorted(scores, reverse=True)
    heading.click()
    assert column(page, 2)[0].startswith(f"{min(scores):.1f}")
    assert page.locator("#score-table thead th:nth-child(3)").get_attribute("aria-sort") == "ascending"


def test_rows_without_a_score_come_last_however_one_sorts(page: "Page") -> None:
    heading = page.locator("#score-table thead th:nth-child(4) button")
    for _ in range(2):
        heading.click()
        assert column(page, 0)[-1] == "rambo"


def test_a_name_and_a_robot_filter_the_table(page: "Page") -> None:
    page.locator("#filter").fill("OP")
    assert page.locator("#score-table tbody tr:visible th").all_inner_texts() == ["mopo"]
    assert page.locator("#shown").inner_text() == "1 of 4 systems"
    page.locator("#tasks").select_option("robot:walker2d")
    heads = page.locator("#score-table thead th:visible").all_inner_texts()
    assert [head.split()[0] for head in heads] == ["system", "IQM", "walker2d-random"]


def test_another_run_can_be_chosen_for_the_diagnostics(page: "Page") -> None:
    show(page, "#diagnostic-panels .chart")
    assert page.locator("#run-row option:checked").inner_text() == "bc"
    page.locator("#run-row").select_option(label="rambo")
    show(page, "#diagnostic-panels .chart")
    assert page.locator("#run-seeds").inner_text().split() == ["seed", "0", "seed", "1"]


def test_dark_and_light_are_switched_with_their_own_colors(page: "Page") -> None:
    show(page, FIRST)
    color = f"document.querySelector('{FIRST}').data.find((t) => t.meta === 0).line.color"
    light, ground = page.evaluate(color), page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate(color) != light
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


@pytest.mark.parametrize("width", [400, 768, 1280])
def test_the_page_is_never_wider_than_the_window(page: "Page", width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_keyboard_reaches_the_results_and_every_control(page: "Page") -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"filter", "tasks", "BUTTON"} <= reached


def test_a_print_draws_every_chart_in_light_colors(page: "Page", said: list[str]) -> None:
    page.locator("#theme").click()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".chart:not([data-drawn])").count() == 0
    assert page.evaluate(f"document.querySelector('{FIRST}').data.find((t) => t.meta === 0).line.color") == "#00498F"
    assert page.pdf(format="A4")[:4] == b"%PDF"
    assert said == []
