"""The exponent of a growth, on costs whose exponent is known."""

import pytest
from growth import growth

SIZES = [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_a_power_has_its_exponent(exponent: float) -> None:
    found = growth(SIZES, [3 * size**exponent for size in SIZES])
    assert found.exponent == pytest.approx(exponent, abs=1e-12)
    assert found.last == pytest.approx(exponent, abs=1e-12)


def test_a_constant_part_shows_at_small_sizes_only() -> None:
    found = growth(SIZES, [10 + 2 * size for size in SIZES])
    assert found.per_unit == pytest.approx(2)
    assert found.exponent < found.last < 1


def test_the_order_of_the_points_does_not_matter() -> None:
    assert growth([8, 1, 4], [64, 1, 16]) == pytest.approx((2.0, 2.0, growth([1, 4, 8], [1, 16, 64]).per_unit))


@pytest.mark.parametrize(("sizes", "costs"), [([1.0], [1.0]), ([2.0, 2.0], [1.0, 3.0]), ([1.0, 2.0], [0.0, 1.0])])
def test_too_little_to_fit_is_refused(sizes: list[float], costs: list[float]) -> None:
    with pytest.raises(ValueError, match="two different sizes"):
        growth(sizes, costs)
