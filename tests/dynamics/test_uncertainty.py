"""Every penalty against a plain loop over members, rows and dimensions, and the inequalities between them."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.dynamics.ensemble import Gaussian
from offline_mbrl.dynamics.uncertainty import PENALTIES, PenaltyName
from offline_mbrl.types import Array

Oracle = Callable[[list[list[float]], list[list[float]], int], float]
"""(means [N][d + 1], stds [N][d + 1], sampled member) of one row -> its penalty."""


def norm(x: list[float]) -> float:
    return math.sqrt(sum(value * value for value in x))


def distance(x: list[float], y: list[float]) -> float:
    return norm([a - b for a, b in zip(x, y, strict=True)])


def average(x: list[float]) -> float:
    return sum(x) / len(x)


def center(means: list[list[float]]) -> list[float]:
    return [average([mean[k] for mean in means]) for k in range(len(means[0]))]


def states(means: list[list[float]]) -> list[list[float]]:
    """Without the reward, which comes first."""
    return [mean[1:] for mean in means]


def variances(means: list[list[float]], stds: list[list[float]]) -> list[float]:
    """v_k = mean_i (sigma_ik^2 + mu_ik^2) - (mean_i mu_ik)^2."""
    return [
        average([s[k] ** 2 + m[k] ** 2 for m, s in zip(means, stds, strict=True)]) - average([m[k] for m in means]) ** 2
        for k in range(len(means[0]))
    ]


def report(means: list[list[float]], stds: list[list[float]]) -> float:
    state = states(means)
    total = [sum(mean[k] for mean in state) for k in range(len(state[0]))]
    return sum(norm(s) for s in stds) + sum(norm(m) for m in state) - norm(total)


def epistemic(means: list[list[float]]) -> float:
    state, middle = states(means), center(states(means))
    return math.sqrt(average([average([(m[k] - c) ** 2 for m in state]) for k, c in enumerate(middle)]))


def log_density(mean: list[float], std: list[float], y: list[float]) -> float:
    return sum(
        -0.5 * ((b - m) / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi)
        for m, s, b in zip(mean, std, y, strict=True)
    )


def ll_variance(means: list[list[float]], stds: list[list[float]]) -> float:
    y = [m + 0.5 * s for m, s in zip(means[0], stds[0], strict=True)]
    values = [log_density(mean, std, y) for mean, std in zip(means, stds, strict=True)]
    return average([value * value for value in values]) - average(values) ** 2


def one_against_the_rest(means: list[list[float]], stds: list[list[float]], i: int) -> float:
    rest = [j for j in range(len(means)) if j != i]
    middle = center([means[j] for j in rest])
    spread = variances([means[j] for j in rest], [stds[j] for j in rest])
    return sum(
        0.5 * math.log(v / s**2) + (s**2 + (m - c) ** 2) / (2 * v) - 0.5
        for m, s, c, v in zip(means[i], stds[i], middle, spread, strict=True)
    )


DENSITIES = ("ll_var", "loo_kl")
"""Of densities, which a Gaussian without a spread has none of."""

ORACLES: dict[PenaltyName, Oracle] = {
    "max_aleatoric": lambda mu, sigma, i: max(norm(s) for s in sigma),
    "max_pair": lambda mu, sigma, i: max(distance(a, b) for a in states(mu) for b in states(mu)),
    "max_center": lambda mu, sigma, i: max(distance(a, center(states(mu))) for a in states(mu)),
    "ens_var": lambda mu, sigma, i: sum(variances(mu, sigma)),
    "ens_std": lambda mu, sigma, i: average([math.sqrt(v) for v in variances(mu, sigma)]),
    "ens_var_report": lambda mu, sigma, i: report(mu, sigma),
    "epistemic_std": lambda mu, sigma, i: epistemic(mu),
    "individual": lambda mu, sigma, i: norm(sigma[i]),
    "combined": lambda mu, sigma, i: 0.5 * norm(sigma[i]) + 0.5 * max(norm(s) for s in sigma),
    "ll_var": lambda mu, sigma, i: ll_variance(mu, sigma),
    "loo_kl": lambda mu, sigma, i: one_against_the_rest(mu, sigma, i),
}
NAMES = list(PENALTIES)


def random_prediction(seed: int, rows: int = 9) -> tuple[Gaussian, Array]:
    """Seven members on rows of four dimensions whose scales differ by orders of magnitude."""
    generator = np.random.default_rng(seed)
    scale = 10.0 ** generator.uniform(-2, 1, (1, rows, 4))
    mean = generator.normal(size=(7, rows, 4)) * scale + generator.normal(size=(1, rows, 4))
    std = generator.exponential(size=(7, rows, 4)) * scale
    member = generator.integers(0, 7, rows)
    return Gaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)), jnp.asarray(member, jnp.int32)


def measure(name: PenaltyName, prediction: Gaussian, member: Array) -> np.ndarray:
    return np.asarray(PENALTIES[name](prediction, member, step_of(prediction)))


def measured(name: PenaltyName) -> Callable[[Gaussian, Array, Array], Array]:
    """The penalty as a plain function, which JAX's transformations ask for."""

    def u(prediction: Gaussian, member: Array, drawn: Array) -> Array:
        return PENALTIES[name](prediction, member, drawn)

    return u


def step_of(prediction: Gaussian) -> Array:
    """A step near to what the first member expects."""
    return prediction.mean[0] + 0.5 * prediction.std[0]


def by_loop(name: PenaltyName, prediction: Gaussian, member: Array) -> list[float]:
    mean, std = (np.asarray(part, np.float64).tolist() for part in prediction)
    by_row = zip(*mean, strict=True), zip(*std, strict=True)
    return [ORACLES[name](list(mu), list(sigma), int(i)) for mu, sigma, i in zip(*by_row, member, strict=True)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_plain_loop_plain_jitted_and_over_seeds(name: PenaltyName, seed: int) -> None:
    prediction, member = random_prediction(seed)
    expected = by_loop(name, prediction, member)
    close = partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5)
    close(measure(name, prediction, member), expected)
    u = measured(name)
    close(jax.jit(u)(prediction, member, step_of(prediction)), expected)
    both = jax.tree.map(lambda *x: jnp.stack(x), (prediction, member), random_prediction(seed + 10))
    batched = jax.vmap(u)(both[0], both[1], jax.vmap(step_of)(both[0]))
    close(batched[0], expected)
    close(batched[1], by_loop(name, *random_prediction(seed + 10)))


def test_there_is_an_oracle_for_every_penalty() -> None:
    assert set(ORACLES) == set(PENALTIES)


def test_inequalities() -> None:
    prediction, member = random_prediction(5, rows=500)
    u = {name: measure(name, prediction, member) for name in NAMES}
    slack = 1 + 1e-5
    assert (u["max_center"] <= slack * u["max_pair"]).all()
    assert (u["max_pair"] <= slack * 2 * u["max_center"]).all()
    assert (u["individual"] <= slack * u["max_aleatoric"]).all()
    assert (u["individual"] <= slack * u["combined"]).all()
    assert (u["combined"] <= slack * u["max_aleatoric"]).all()
    assert (u["epistemic_std"] <= slack * u["max_center"]).all()
    assert all((value >= 0).all() for value in u.values())
    assert all(value.std() > 0 for value in u.values())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DENSITIES])
def test_certain_members_that_agree_are_not_penalized(name: PenaltyName) -> None:
    mean = jnp.broadcast_to(jnp.array([0.5, 0.25, 8.0, -2.0]), (7, 3, 4))
    prediction, member = Gaussian(mean, jnp.zeros_like(mean)), jnp.zeros(3, jnp.int32)
    np.testing.assert_allclose(measure(name, prediction, member), 0.0, atol=1e-5)


@pytest.mark.parametrize("name", ["max_pair", "max_center", "epistemic_std"])
def test_disagreement_alone_ignores_noise_and_reward(name: PenaltyName) -> None:
    prediction, member = random_prediction(2)
    other = Gaussian(prediction.mean.at[..., 0].multiply(100.0), prediction.std * 50.0)
    np.testing.assert_array_equal(measure(name, prediction, member), measure(name, other, member))


@pytest.mark.parametrize("name", ["max_aleatoric", "individual", "combined"])
def test_noise_alone_ignores_means_and_counts_the_reward(name: PenaltyName) -> None:
    prediction, member = random_prediction(2)
    moved = Gaussian(prediction.mean * 100.0, prediction.std)
    np.testing.assert_array_equal(measure(name, prediction, member), measure(name, moved, member))
    noisier = Gaussian(prediction.mean, prediction.std.at[..., 0].add(10.0))
    assert (measure(name, noisier, member) > measure(name, prediction, member)).all()


@pytest.mark.parametrize("name", ["max_aleatoric", "max_pair", "max_center", "ens_var_report", "individual"])
def test_gradient_is_finite_where_a_norm_is_zero(name: PenaltyName) -> None:
    prediction = Gaussian(jnp.zeros((3, 2, 4)), jnp.zeros((3, 2, 4)))
    grads = jax.grad(lambda p: PENALTIES[name](p, jnp.zeros(2, jnp.int32), p.mean[0]).sum())(prediction)
    assert all(np.isfinite(np.asarray(part)).all() for part in grads)


def test_likelihood_variance_and_one_against_the_rest_by_hand() -> None:
    """Two members N(0, 1) and N(2, 1) in one dimension, y = 0: log-likelihoods 0 and -2 apart, KL (2)^2 / 2."""
    prediction = Gaussian(jnp.array([[[0.0]], [[2.0]]]), jnp.ones((2, 1, 1)))
    member, drawn = jnp.zeros(1, jnp.int32), jnp.zeros((1, 1))
    assert float(PENALTIES["ll_var"](prediction, member, drawn)[0]) == pytest.approx(1.0)
    assert float(PENALTIES["loo_kl"](prediction, member, drawn)[0]) == pytest.approx(2.0)


def test_only_the_individual_penalty_needs_one_member() -> None:
    """The flag decides whether a rollout evaluates one member or all; a wrong one would be silently cheap."""
    prediction, member = random_prediction(3)
    alone = Gaussian(*(part[member, jnp.arange(9)][None] for part in prediction))
    for name, penalty in PENALTIES.items():
        same = np.allclose(
            penalty(alone, jnp.zeros(9, jnp.int32), step_of(prediction)), measure(name, prediction, member)
        )
        assert same is not penalty.all_members
