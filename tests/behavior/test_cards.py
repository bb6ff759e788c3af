from pathlib import Path

import numpy as np

from offline_mbrl.behavior.cards import card
from offline_mbrl.data.behavior import uniform
from offline_mbrl.data.builtin.behaviors import Behaviors
from offline_mbrl.data.plots import return_histogram
from offline_mbrl.data.summary import Summary
from offline_mbrl.data.synthetic import synthetic
from offline_mbrl.tasks import ROBOTS, get_task


def test_a_card_states_the_measured_numbers() -> None:
    behaviors = Behaviors(
        actors={},
        steps=np.array([10_000, 200_000, 900_000]),
        returns=np.array([0.0, 1400.0, 3200.0]),
        medium_returns=np.full(100, 1411.837),
        expert_returns=np.full(100, 3234.3),
        medium_behavior=uniform(ROBOTS["hopper"]),
        digest="abc",
    )
    facts = Summary(100_000, 211, 200, 10, 470.0, 1400.0, 300.0, (0.0,) * 5, 43.6, 9.2)
    text = card(ROBOTS["hopper"], behaviors, {"hopper-medium": facts}, "0123abcd", "Batch size 128.")
    assert "| medium (D4RL's level: 44) | 200,000 | 44.0 ± 0.0 (100 episodes) |" in text
    assert "| expert | 900,000 | 100.0 ± 0.0 (100 episodes) |" in text
    assert "10,000 (1), 200,000 (44)." in text
    assert "| hopper-medium | 1,000,000 | 100,000 | 210 | 470 | 43.6 ± 9.2 |" in text
    assert "`0123abcd`" in text
    assert "Batch size 128." in text


def test_the_histogram_is_a_picture(tmp_path: Path) -> None:
    path = return_histogram(synthetic(get_task("hopper-medium"), 500), tmp_path / "plots" / "returns.png")
    assert path.read_bytes().startswith(b"\x89PNG")
