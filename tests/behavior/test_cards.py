from pathlib import Path

import numpy as np
import pytest

from offline_mbrl.behavior import cards
from offline_mbrl.behavior.cards import Card, Moments, measure, moments, render
from offline_mbrl.data.behavior import uniform
from offline_mbrl.data.builtin.behaviors import WEIGHTS, Behaviors, load_behaviors
from offline_mbrl.data.builtin.recipe import RECIPE_VERSION
from offline_mbrl.data.plots import return_histogram
from offline_mbrl.data.summary import Summary
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.tasks import ROBOTS, get_task

HOPPER = ROBOTS["hopper"]
OURS = Moments(100_000, 220, np.zeros(14), np.ones(14))
FACTS = Summary(
    rows=100_000,
    episodes=211,
    terminals=200,
    timeouts=10,
    length_mean=470.0,
    length_std=145.0,
    return_mean=1400.0,
    return_std=290.0,
    return_quantiles=(0.0,) * 5,
    score_mean=43.6,
    score_std=9.2,
)


@pytest.fixture
def card() -> Card:
    behaviors = Behaviors(
        actors={},
        steps=np.array([10_000, 200_000, 900_000]),
        returns=np.array([0.0, 1400.0, 3200.0]),
        medium_returns=np.full(100, 1411.837),
        expert_returns=np.full(100, 3234.3),
        medium_behavior=uniform(HOPPER),
        digest="abc",
    )
    official = Moments(911, 2, np.full(14, -0.5), np.full(14, 2.0))
    return Card(HOPPER, behaviors, "Batch size 128.", True, {"medium": FACTS}, OURS, official)


def test_a_card_says_what_is_whose(card: Card) -> None:
    text = render(card)
    assert "| hopper-medium | D4RL's own medium policy | D4RL's distribution ([CC BY 4.0](d4rl/NOTICE.md)) |" in text
    assert "| hopper-medium-replay | the ladder of one training run up to our medium policy, below | ours |" in text
    assert "| hopper-medium | our medium policy | ours |" in render(card._replace(d4rl=False))


def test_a_card_states_the_measured_numbers(card: Card) -> None:
    text = render(card)
    # 210 complete episodes: standard errors are the deviations over 14.49.
    assert (
        "| hopper-medium | 100,000 | 210 | 95.2%, 0.20% | 470.0 ± 10.0 (145.0) | 1,400.0 ± 20.0 (290.0) | "
        "43.6 ± 0.6 (9.2) |" in text
    )
    assert "| end of the ladder | 200,000 | 44.0 ± 0.0 (100 episodes) |" in text
    assert "| expert | 900,000 | 100.0 ± 0.0 (100 episodes) |" in text
    assert "10,000 (1), 200,000 (44)." in text
    assert "share x^0.6 of the run" in text
    assert "Batch size 128." in text


def test_a_card_compares_with_the_official_figures_and_rows(card: Card) -> None:
    text = render(card)
    # -22.1 of return at 3254.57 / 100 a point; errors 290 / sqrt(210) and 379 / sqrt(2186).
    assert "| hopper-medium | 1400.0 ± 290.0 (210) | 1422.1 ± 379.0 (2,186) | -0.7 ± 0.7 |" in text
    assert "2 episodes: an excerpt, of which chance moves every figure." in text
    assert "| action 2 | 0.000 ± 1.000 | -0.500 ± 2.000 | +0.50 |" in text
    without = render(card._replace(official=None))
    assert "No official file was at hand" in without
    assert "| action 2 | 0.000 ± 1.000 |\n" in without


def test_moments_are_of_every_column() -> None:
    dataset = synthetic(get_task("hopper-medium"), 500)
    found = moments(dataset)
    assert (found.rows, found.mean.shape) == (500, (14,))
    first = (dataset.observations[:, 0], dataset.actions[:, 0])
    np.testing.assert_allclose(found.mean[[0, 11]], [column.mean() for column in first], rtol=1e-5)
    np.testing.assert_allclose(found.std[[0, 11]], [column.std() for column in first], rtol=1e-5)


@pytest.mark.medium
def test_a_card_is_measured_from_the_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "load_builtin", lambda task, rows, cache, weights: synthetic(task, rows))
    card = measure(HOPPER, 300)
    assert [facts.rows for facts in card.sets.values()] == [300] * 4
    assert card.d4rl
    assert "Commit `6db9a02`. Batch size 128, one seed." in render(card)


def test_the_shipped_cards_are_of_the_shipped_policies() -> None:
    for robot in ROBOTS.values():
        text = (WEIGHTS / f"{robot.name}.md").read_text(encoding="utf-8")
        assert f"`{load_behaviors(robot).digest}`; version {RECIPE_VERSION} of the recipe." in text


def test_the_histogram_is_a_picture(tmp_path: Path) -> None:
    path = return_histogram(synthetic(get_task("hopper-medium"), 500), tmp_path / "plots" / "returns.png")
    assert path.read_bytes().startswith(b"\x89PNG")
