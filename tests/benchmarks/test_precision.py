"""The table that compares two precisions."""

import numpy as np
import precision
import pytest
from precision import Options, Result, compared, main

SCORES = {"highest": [10.0, 20.0, 30.0], "mixed": [12.0, 21.0, 33.0]}


def made_up(name: str, options: Options, data: object, precision: str) -> Result:
    return Result(7.0, {"score": np.array(SCORES[precision])})


def test_scores_are_compared_seed_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences 2, 1, 3: their mean is 2, its standard error 1 / sqrt(3), and 4.3027 the quantile for two degrees."""
    monkeypatch.setattr(precision, "trained", made_up)
    score, seconds = compared("bc", Options(), None)  # type: ignore[arg-type]
    assert score == ["bc", "score", "20.0 [-4.8, 44.8]", "22.0 [-4.2, 48.2]", "+2.0 [-0.5, 4.5]"]
    assert seconds == ["bc", "seconds", "7", "7", ""]


@pytest.mark.slow
def test_both_precisions_are_trained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(precision.SMALL["mopo"], "rollout_every", 20)
    main(Options(size=2000, seeds=2, steps=400, episodes=1))
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line and line[0] in ("td3_bc", "mopo")] == [
        [name, measure]
        for name, own in (("td3_bc", []), ("mopo", ["holdout"]))
        for measure in ("score", "q", "critic_loss", *own, "seconds")
    ]
