"""Presets: what a run is configured with, where each value comes from, and how mistakes are told."""

import pytest

from offline_mbrl.algorithms.pages import flat_fields, page
from offline_mbrl.algorithms.presets import default_source, resolve
from offline_mbrl.algorithms.registry import get_definition, own_names
from offline_mbrl.algorithms.systems.mobile import DEFINITION as MOBILE
from offline_mbrl.algorithms.systems.mobile import MOBILEConfig
from offline_mbrl.algorithms.systems.mopo import DEFINITION, MOPOConfig
from offline_mbrl.errors import UserError
from offline_mbrl.tasks import TASKS


def mopo(**overrides: object) -> MOPOConfig:
    config = resolve(DEFINITION, "hopper-medium", None, overrides).config
    assert isinstance(config, MOPOConfig)
    return config


def test_the_tasks_own_values_lie_over_the_defaults_and_overrides_over_both() -> None:
    plain = resolve(DEFINITION, "hopper-medium")
    assert plain.steps == 3_000_000
    assert mopo().penalty_weight == 5.0
    assert mopo(penalty_weight="2.5").penalty_weight == 2.5
    changed = resolve(DEFINITION, "hopper-medium", None, {"steps": 10, "penalty_weight": 2})
    assert changed.steps == 10
    assert changed.sources["penalty_weight"] == "set by the user"
    assert plain.sources["penalty_weight"] == "Kit"
    assert "batch_size" not in plain.sources


def test_a_nested_override_leaves_its_neighbours() -> None:
    config = mopo(**{"dynamics.patience": "7"})
    assert config.dynamics.patience == 7
    assert config.dynamics.members == 7
    assert config.penalty_weight == 5.0


def test_a_named_preset_lies_over_the_rest() -> None:
    official = resolve(DEFINITION, "walker2d-medium-expert", "official-v0").config
    assert isinstance(official, MOPOConfig)
    assert (official.penalty_weight, official.horizon, official.target_entropy) == (2.0, 1, -3.0)
    assert official.dynamics.patience == 6


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"penalty_wieght": 1}, "unknown mopo setting 'penalty_wieght'; did you mean 'penalty_weight'?"),
        ({"dynamics.patienc": 1}, "unknown mopo setting 'dynamics.patienc'; did you mean 'dynamics.patience'?"),
        ({"penalty_weight": -1}, "mopo setting penalty_weight=-1: input should be greater than or equal to 0"),
        ({"horizon": 0}, "mopo setting horizon=0"),
        ({"horizon": "five"}, "mopo setting horizon='five'"),
        ({"penalty": "max"}, "mopo setting penalty='max'"),
        ({"penalty_weight": float("nan")}, "mopo setting penalty_weight=nan"),
    ],
)
def test_mistakes_are_told_in_one_line(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        resolve(DEFINITION, "hopper-medium", None, overrides)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown mopo preset 'oficial-v0'; did you mean 'official-v0'"):
        resolve(DEFINITION, "hopper-medium", "oficial-v0")


@pytest.mark.parametrize("name", own_names())
def test_every_default_is_printed_with_its_source(name: str) -> None:
    assert all(default_source(name, field).strip() for field in flat_fields(get_definition(name).config()))
    assert "| default |" not in page(name, "hopper-random")


def test_our_own_choices_are_marked_where_a_user_sees_them() -> None:
    assert "our choice" in page("drop").split("## Deviations")[0]
    micro = {task: page("micro", task).split("## Deviations")[0] for task in TASKS}
    assert {task for task, text in micro.items() if "our choice" in text} == {t for t in TASKS if t.endswith("-random")}


def test_an_entry_without_a_value_takes_back_what_lies_below() -> None:
    """MOBILE's own code fixes alpha on this task, OfflineRL-Kit learns it."""
    own, kit = (resolve(MOBILE, "hopper-medium-replay", preset) for preset in (None, "kit"))
    assert isinstance(own.config, MOBILEConfig)
    assert isinstance(kit.config, MOBILEConfig)
    assert own.config.temperature == 0.2
    assert kit.config.temperature is None
    assert "temperature" not in kit.sources


def test_none_stands_for_no_value_where_a_setting_may_have_none() -> None:
    mopo = get_definition("mopo")
    unclamped = resolve(mopo, "hopper-medium", overrides={"temperature_max": "none"}).config
    assert unclamped.model_dump()["temperature_max"] is None
    with pytest.raises(UserError, match="penalty_weight"):
        resolve(mopo, "hopper-medium", overrides={"penalty_weight": "none"})


def test_a_setting_that_came_later_is_left_out_of_records_at_its_default() -> None:
    mopo = get_definition("mopo")
    plain, drawn = (resolve(mopo, "hopper-medium", preset).config for preset in (None, "kit"))
    assert "init" not in plain.model_dump(mode="json")
    assert drawn.model_dump(mode="json")["init"] == "torch"
