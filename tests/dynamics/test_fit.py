"""The ensemble's training: loss, split, stopping rule, snapshots, elites, and what a fit finds in known systems."""

from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offline_mbrl.dynamics import fit as fitting
from offline_mbrl.dynamics.ensemble import predict
from offline_mbrl.dynamics.fit import Fit, FitState, Fixed
from offline_mbrl.dynamics.models import gaussian
from offline_mbrl.dynamics.models.gaussian import GaussianConfig, Weights, forward, init_weights
from offline_mbrl.dynamics.registry import pretraining_of
from offline_mbrl.nn.layers import Layer
from offline_mbrl.nn.normalizer import Normalizer
from offline_mbrl.nn.precision import computing, imagining
from offline_mbrl.pretraining.fit import Report, fit, result_shape, silent
from offline_mbrl.types import Array, Data, Transition

TINY = GaussianConfig(members=3, elites=2, hidden=(8,), weight_decay=(0.3, 0.7), batch_size=16, holdout_max=20)


def data_of(rows: Transition) -> Data:
    """The rows as one episode without an end."""
    count = rows.reward.shape[0]
    return Data(rows, jnp.zeros(count), jnp.arange(count) == 0, jnp.arange(count) < count - 1)


def fit_rows(config: GaussianConfig, rows: Transition, keys: Array, report: Report = silent) -> Fit:
    """The fit of the configuration's kind to `rows`."""
    fits: Fit = fit(pretraining_of(config, rows.obs.shape[-1], rows.action.shape[-1]), data_of(rows), keys, report)
    return fits


def start(config: GaussianConfig, key: Array | None = None) -> FitState:
    """A fit before its first epoch."""
    weights = init_weights(config, 2, 1, jax.random.key(0) if key is None else key)
    return fitting.init(config, optax.adam(1e-2), weights)


def toy_rows(count: int, seed: int = 0, noise: float = 0.1) -> Transition:
    """s' = 0.8 s + (a, 0) + noise and r = s_0 - a."""
    generator = np.random.default_rng(seed)
    obs, action = generator.normal(size=(count, 2)), generator.uniform(-1, 1, (count, 1))
    next_obs = 0.8 * obs + action * [1.0, 0.0] + noise * generator.normal(size=(count, 2))
    parts = (obs, action, obs[:, 0] - action[:, 0], np.ones(count), next_obs)
    return Transition(*(jnp.asarray(part, jnp.float32) for part in parts))


def test_targets_are_the_reward_first_and_the_difference_of_states() -> None:
    rows = toy_rows(5)
    y = np.asarray(fitting.targets(rows))
    np.testing.assert_array_equal(y[:, 0], rows.reward)
    np.testing.assert_allclose(y[:, 1:], np.asarray(rows.next_obs) - np.asarray(rows.obs), rtol=1e-6)


def hand_loss(config: GaussianConfig, weights: Weights, x: np.ndarray, y: np.ndarray) -> float:
    """The training loss as plain sums over members, rows and dimensions."""
    mean, logvar = (np.asarray(part, np.float64) for part in forward(weights, jnp.asarray(x, jnp.float32)))
    total, (count, rows, width) = 0.0, mean.shape
    for i in range(count):
        for b in range(rows):
            for k in range(width):
                total += ((mean[i, b, k] - y[i, b, k]) ** 2 / np.exp(logvar[i, b, k]) + logvar[i, b, k]) / (
                    rows * width
                )
        for rate, layer in zip(config.weight_decay, weights.layers, strict=True):
            total += 0.5 * rate * float((np.asarray(layer.weight[i], np.float64) ** 2).sum())
    return total + config.logvar_penalty * float((weights.max_logvar - weights.min_logvar).sum())


def test_loss_by_hand_plain_jitted_and_over_seeds() -> None:
    weights = jax.vmap(lambda key: init_weights(TINY, 2, 1, key))(jax.random.split(jax.random.key(0), 2))
    weights = weights._replace(layers=tuple(Layer(w, b + 0.5) for w, b in weights.layers))
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(3, 4, 3)), generator.normal(size=(3, 4, 3))
    inputs = (jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    loss = partial(gaussian.loss, TINY)
    one = jax.tree.map(lambda leaf: leaf[0], weights)
    expected = hand_loss(TINY, one, x, y)
    assert float(loss(one, *inputs)) == pytest.approx(expected, rel=1e-5)
    assert float(jax.jit(loss)(one, *inputs)) == pytest.approx(expected, rel=1e-5)
    both = jax.vmap(loss, in_axes=(0, None, None))(weights, *inputs)
    assert float(both[0]) == pytest.approx(expected, rel=1e-5)
    assert float(both[1]) == pytest.approx(hand_loss(TINY, jax.tree.map(lambda leaf: leaf[1], weights), x, y), rel=1e-5)


def test_a_members_gradient_does_not_depend_on_the_others() -> None:
    weights = init_weights(TINY, 2, 1, jax.random.key(0))
    x, y = jax.random.normal(jax.random.key(1), (2, 3, 4, 3))
    together = jax.grad(gaussian.likelihood_loss)(weights, x, y)
    first = weights._replace(layers=jax.tree.map(lambda leaf: leaf[:1], weights.layers))
    alone = jax.grad(gaussian.likelihood_loss)(first, x[:1], y[:1])
    for several, single in zip(together.layers, alone.layers, strict=True):
        np.testing.assert_allclose(several.weight[0], single.weight[0], rtol=1e-4, atol=1e-6)


def test_the_bounds_are_trained_toward_each_other_and_biases_are_free() -> None:
    weights = init_weights(TINY, 2, 1, jax.random.key(0))
    grads = jax.grad(lambda w: gaussian.regularizer(TINY, w))(weights)
    np.testing.assert_allclose(grads.max_logvar, 0.01)
    np.testing.assert_allclose(grads.min_logvar, -0.01)
    for rate, layer, grad in zip(TINY.weight_decay, weights.layers, grads.layers, strict=True):
        np.testing.assert_allclose(grad.weight, rate * layer.weight, rtol=1e-5)
        assert not np.asarray(grad.bias).any()


def test_holdout_error_is_the_mean_squared_error_of_the_mean() -> None:
    weights = init_weights(TINY, 2, 1, jax.random.key(0))
    x, y = jax.random.normal(jax.random.key(1), (2, 6, 3))
    mean, _ = forward(weights, jnp.broadcast_to(x, (3, 6, 3)))
    expected = [np.mean((np.asarray(mean[i]) - np.asarray(y)) ** 2) for i in range(3)]
    np.testing.assert_allclose(fitting.holdout_error(weights, x, y), expected, rtol=1e-5)


@pytest.mark.parametrize(("rows", "held"), [(5, 1), (50, 10), (400, 80), (7000, 1000)])
def test_holdout_is_capped_and_disjoint_from_every_bootstrap(rows: int, held: int) -> None:
    config = GaussianConfig()
    split = jax.jit(lambda key: fitting.split_rows(config, rows, key))(jax.random.key(0))
    holdout, bootstrap = map(np.asarray, split)
    assert (holdout.shape, bootstrap.shape) == ((held,), (7, rows - held))
    assert len(set(holdout.tolist())) == held
    assert not set(holdout.tolist()) & set(bootstrap.ravel().tolist())
    assert set(bootstrap.ravel().tolist()) <= set(range(rows))


def test_bootstraps_are_drawn_with_replacement_and_differ_between_members_and_seeds() -> None:
    split = jax.vmap(lambda key: fitting.split_rows(GaussianConfig(), 3000, key))(
        jax.random.split(jax.random.key(0), 2)
    )
    holdout, bootstrap = map(np.asarray, split)
    drawn = {(seed, member): set(bootstrap[seed, member].tolist()) for seed in range(2) for member in range(7)}
    for rows in drawn.values():
        assert len(rows) / 2400 == pytest.approx(1 - np.exp(-1), abs=0.04)
    assert len({frozenset(rows) for rows in drawn.values()}) == 14
    assert set(holdout[0].tolist()) != set(holdout[1].tolist())
    assert np.ptp(holdout[0]) > 2000  # not the tail of the file


def test_the_scaler_sees_training_rows_alone() -> None:
    rows = toy_rows(40)
    held = jnp.array([3, 17, 20])
    spoilt = rows._replace(obs=rows.obs.at[held].set(1e6))
    kept = np.delete(np.asarray(fitting.inputs(rows)), np.asarray(held), axis=0)
    scaler = fitting.fit_scaler(spoilt, held)
    np.testing.assert_allclose(scaler.mean, kept.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scaler.std, kept.std(axis=0), rtol=1e-4)
    constant = fitting.fit_scaler(rows._replace(action=jnp.full((40, 1), 0.5)), held)
    assert float(constant.std[2]) == 1.0


def test_an_epoch_shows_every_member_its_bootstrap_in_an_order_of_its_own() -> None:
    bootstrap = jnp.arange(30).reshape(3, 10) % 17
    batches = np.asarray(fitting.epoch_batches(bootstrap, 4, jax.random.key(0)))
    assert batches.shape == (3, 3, 4)  # ceil(10 / 4) steps, members, rows
    for member in range(3):
        order = batches[:, member].ravel()
        assert sorted(order[:10]) == sorted(np.asarray(bootstrap[member]).tolist())
        assert order[10:].tolist() == order[:2].tolist()
    same = jnp.tile(jnp.arange(200), (2, 1))
    first, second = (np.asarray(fitting.epoch_batches(same, 50, jax.random.key(k))) for k in (0, 1))
    assert (first[:, 0] != first[:, 1]).mean() > 0.9
    assert (first != second).mean() > 0.9


def staleness(config: GaussianConfig, errors: list[list[float]]) -> FitState:
    """The state when a fit whose holdout errors are `errors` [epochs][members] stops, or has used them up."""
    state = start(config)
    for error in errors:
        if not bool(fitting.active(config, state)):
            break
        state = fitting.record_improvement(config, state, jnp.array(error))
    return state


SEQUENCE = [
    [1.0, 1.0, 1.0],  # 1: all improve on the initial 1e10
    [0.995, 0.992, 1.0],  # 2: by less than 1 %, stale 1
    [0.98, 1.0, 1.0],  # 3: one member by 2 %, stale 0
    [0.98, 0.9901, 2.0],  # 4: 0.99 % does not count, stale 1
    [0.98, 0.9899, 2.0],  # 5: 1.01 % does, stale 0
    *[[0.98, 0.985, 0.995]] * 20,  # 6 on: stale 1, 2, 3, ...
]


@pytest.mark.parametrize(("patience", "stops_after"), [(5, 10), (6, 11)])
def test_the_fit_stops_at_the_documented_epoch(patience: int, stops_after: int) -> None:
    """Patience 5 is OfflineRL-Kit's rule (five stale epochs), 6 that of MOPO's code (more than five)."""
    config = TINY.model_copy(update={"patience": patience})
    state = staleness(config, SEQUENCE)
    assert int(state.epochs) == stops_after
    np.testing.assert_allclose(state.best_loss, [0.98, 0.9899, 1.0])


@pytest.mark.medium
@pytest.mark.parametrize("patience", [5, 6])
def test_a_fit_that_never_improves_after_its_first_epoch(patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real fit, with a holdout error that is always the same."""
    monkeypatch.setattr(fitting, "holdout_error", lambda weights, x, y: jnp.ones(3))
    config, seen = TINY.model_copy(update={"patience": patience}), list[FitState]()
    made = fit_rows(config, toy_rows(60), jax.random.split(jax.random.key(0), 2), lambda state, now: seen.append(state))
    assert made.epochs.tolist() == [1 + patience] * 2
    assert len(seen) == 1 + patience


def test_max_epochs_caps_the_fit() -> None:
    state = staleness(TINY.model_copy(update={"max_epochs": 3}), SEQUENCE)
    assert int(state.epochs) == 3


class Stepper(NamedTuple):
    """Everything that one epoch of two seeds needs."""

    config: GaussianConfig
    rows: Transition
    states: FitState

    def step(self) -> FitState:
        optimizer, keys = optax.adam(1e-2), jax.random.split(jax.random.key(1), 2)
        scaler = Normalizer(jnp.zeros(3), jnp.ones(3))

        def epoch(state: FitState, key: Array) -> FitState:
            fixed = Fixed(*fitting.split_rows(self.config, self.rows.reward.shape[0], key), scaler)
            loss = partial(gaussian.loss, self.config)
            return fitting.train_epoch(self.config, optimizer, loss, fixed, state, data_of(self.rows), key)

        stepped: FitState = jax.jit(jax.vmap(epoch))(self.states, keys)
        return stepped


def fresh_states(config: GaussianConfig, **first: Array) -> FitState:
    """Two seeds, the first one with some fields replaced."""
    starts = jax.vmap(partial(start, config))(jax.random.split(jax.random.key(0), 2))
    return starts.replace(**{name: getattr(starts, name).at[0].set(value) for name, value in first.items()})


@pytest.mark.medium
def test_a_stopped_seed_does_not_change_while_another_goes_on() -> None:
    before = fresh_states(TINY, stale=jnp.int32(TINY.patience))
    after = Stepper(TINY, toy_rows(60), before).step()
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(old[0], new[0])
    assert after.epochs.tolist() == [0, 1]
    moved = [
        bool((old[1] != new[1]).any()) for old, new in zip(before.weights.layers, after.weights.layers, strict=True)
    ]
    assert all(moved)


@pytest.mark.medium
def test_only_members_that_improved_are_snapshot() -> None:
    """A best error of 0 cannot be improved on: that member keeps its first weights, the others take the new ones."""
    config = TINY
    before = fresh_states(config, best_loss=jnp.array([1e-9, 1e10, 1e10]))
    after = Stepper(config, toy_rows(60), before).step()
    for old, new, best in zip(before.best_layers, after.weights.layers, after.best_layers, strict=True):
        np.testing.assert_array_equal(best.weight[0, 0], old.weight[0, 0])
        np.testing.assert_array_equal(best.weight[0, 1:], new.weight[0, 1:])
        assert (np.asarray(new.weight[0, 0]) != np.asarray(old.weight[0, 0])).any()


def test_finish_restores_snapshots_and_names_the_best_members() -> None:
    state = start(TINY)
    drifted = jax.tree.map(lambda leaf: leaf + 1.0, state.weights)
    state = state.replace(weights=drifted, best_loss=jnp.array([0.3, 0.1, 0.2]))
    scaler, nothing = Normalizer(jnp.zeros(3), jnp.ones(3)), jnp.zeros(0, jnp.int32)
    made = fitting.finish(TINY, Fixed(nothing, nothing, scaler), state)
    assert made.ensemble.elites.tolist() == [1, 2]
    np.testing.assert_array_equal(made.ensemble.weights.layers[0].weight, state.best_layers[0].weight)
    restored, last = cast(Weights, made.ensemble.weights), cast(Weights, drifted)
    np.testing.assert_array_equal(restored.max_logvar, last.max_logvar)  # bounds are not part of a snapshot


@pytest.mark.medium
def test_the_shape_of_a_fit_is_known_without_one() -> None:
    config = TINY.model_copy(update={"max_epochs": 1})
    made = fit_rows(config, toy_rows(40), jax.random.split(jax.random.key(0), 1))
    expected = result_shape(pretraining_of(config, 2, 1), data_of(toy_rows(40)), 1)
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), made)
    assert str(jax.tree.structure(described)) == str(jax.tree.structure(expected))
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(described)] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(expected)
    ]


class Known(NamedTuple):
    """A fit of a system whose mean and noise are known, and fresh rows of it."""

    fits: Fit  # leading axis: seeds
    fresh: Transition
    mean: np.ndarray  # [B, d + 1] of y = (r, s' - s)
    sigma: np.ndarray  # [B, d + 1]


MATRIX = np.array([[0.9, 0.3], [-0.3, 0.9]])


def heteroscedastic(count: int, seed: int) -> tuple[Transition, np.ndarray, np.ndarray]:
    """A linear-Gaussian system whose noise grows with the first state; its mean and deviation of (r, s' - s)."""
    generator = np.random.default_rng(seed)
    obs, action = generator.normal(size=(count, 2)), generator.uniform(-1, 1, (count, 1))
    mean = np.column_stack(
        [obs @ [1.0, -0.5] + 0.7 * action[:, 0], obs @ (MATRIX.T - np.eye(2)) + action * [0.5, -0.2]]
    )
    sigma = np.column_stack([np.full(count, 0.2), 0.2 * np.exp(0.5 * np.clip(obs[:, 0], -2, 2)), np.full(count, 0.3)])
    y = mean + sigma * generator.normal(size=mean.shape)
    parts = (obs, action, y[:, 0], np.ones(count), obs + y[:, 1:])
    return Transition(*(jnp.asarray(part, jnp.float32) for part in parts)), mean, sigma


@pytest.fixture(scope="module")
def known() -> Known:
    """Fitted to the end: the usual 1 % rule compares means alone, and would keep a noisy system's first variances."""
    config = GaussianConfig(
        hidden=(32, 32), weight_decay=(2.5e-5, 5e-5, 1e-4), batch_size=64, max_epochs=30, patience=30, improvement=0.0
    )
    rows, _, _ = heteroscedastic(3000, 0)
    fits = fit_rows(config, rows, jax.random.split(jax.random.key(0), 2))
    return Known(fits, *heteroscedastic(2000, 1))


def predictions(made: Fit, rows: Transition) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations [seeds, members, B, d + 1]."""
    prediction = jax.vmap(predict, in_axes=(0, None, None))(made.ensemble, rows.obs, rows.action)
    return np.asarray(prediction.mean), np.asarray(prediction.std)


@pytest.mark.medium
def test_recovers_mean_and_noise_of_a_linear_gaussian_system(known: Known) -> None:
    mean, std = predictions(known.fits, known.fresh)
    error = np.sqrt(np.square(mean.mean(axis=1) - known.mean).mean(axis=1))  # [seeds, d + 1]
    assert (error < 0.3 * known.sigma.mean(axis=0)).all()
    central = np.abs(np.asarray(known.fresh.obs)).max(axis=1) < 1.5
    ratio = np.log(std[:, :, central] / known.sigma[central])
    assert np.abs(np.median(ratio.mean(axis=2), axis=1)).max() < 0.12  # the middle member, averaged over rows
    assert np.abs(ratio.mean(axis=2)).max() < 0.5  # any member: one may have been kept from an early epoch
    assert np.abs(ratio.mean(axis=1)).mean() < 0.15  # every row, averaged over members
    low, high = np.asarray(known.fresh.obs)[:, 0] < -0.7, np.asarray(known.fresh.obs)[:, 0] > 0.7
    assert std[..., high, 1].mean() > 2 * std[..., low, 1].mean()  # the noise that grows is seen growing


@pytest.mark.medium
def test_predicted_spread_covers_the_error(known: Known) -> None:
    """Residuals over the mixture's deviation are standard: unit variance, 95 % within two."""
    mean, std = predictions(known.fits, known.fresh)
    total = np.sqrt(np.square(std).mean(axis=1) + mean.var(axis=1))
    z = (np.asarray(fitting.targets(known.fresh)) - mean.mean(axis=1)) / total
    assert 0.85 < z.std() < 1.15
    assert 0.93 < (np.abs(z) < 2).mean() < 0.975


@pytest.mark.medium
def test_log_variance_bounds_hold_far_off_the_data(known: Known) -> None:
    far = known.fresh._replace(obs=1e3 * known.fresh.obs)
    _, std = predictions(known.fits, far)
    weights = cast(Weights, known.fits.ensemble.weights)
    low, high = (np.asarray(bound)[:, None, None] for bound in (weights.min_logvar, weights.max_logvar))
    logvar = 2 * np.log(std)
    assert (logvar >= low - 1e-3).all()
    assert (logvar <= high + np.log1p(np.exp(low - high)) + 1e-3).all()
    assert (np.asarray(weights.max_logvar) != 0.5).all()


@pytest.mark.medium
def test_elites_beat_the_other_members_on_fresh_data() -> None:
    """Averaged over sixteen seeds of a small data set, where members differ by more than the noise."""
    config = GaussianConfig(hidden=(16,), weight_decay=(0.0, 0.0), batch_size=32, max_epochs=25, members=7, elites=3)

    def curved(count: int, seed: int) -> Transition:
        rows = toy_rows(count, seed, noise=0.02)
        return rows._replace(
            reward=jnp.sin(4 * rows.obs[:, 0]), next_obs=rows.next_obs + jnp.cos(3 * rows.obs[:, ::-1])
        )

    made = fit_rows(config, curved(300, 0), jax.random.split(jax.random.key(0), 16))
    fresh = curved(2000, 1)
    mean, _ = predictions(made, fresh)
    error = np.square(mean - np.asarray(fitting.targets(fresh))).mean(axis=(2, 3))  # [seeds, members]
    elite = np.zeros_like(error, bool)
    np.put_along_axis(elite, np.asarray(made.ensemble.elites), True, axis=1)
    gain = error[~elite].reshape(16, 4).mean(axis=1) - error[elite].reshape(16, 3).mean(axis=1)
    assert gain.mean() > 2 * gain.std(ddof=1) / np.sqrt(16)
    held = np.asarray(made.holdout_mse)
    assert (held[elite].reshape(16, 3).max(axis=1) <= held[~elite].reshape(16, 4).min(axis=1)).all()


@pytest.mark.medium
def test_every_seed_stops_on_its_own_and_fits_as_it_would_alone() -> None:
    """Sixty rows and a large rate make the seeds' stopping epochs differ."""
    config = GaussianConfig(
        members=2,
        elites=1,
        hidden=(8,),
        weight_decay=(0.0, 0.0),
        batch_size=16,
        learning_rate=0.02,
        patience=2,
        max_epochs=30,
    )
    keys, rows = jax.random.split(jax.random.key(5), 4), toy_rows(60)
    together = fit_rows(config, rows, keys)
    assert len(set(together.epochs.tolist())) > 1
    first = int(jnp.argmin(together.epochs))
    alone = fit_rows(config, rows, keys[first : first + 1])
    assert int(alone.epochs[0]) == int(together.epochs[first])
    np.testing.assert_allclose(alone.holdout_mse[0], together.holdout_mse[first], rtol=1e-3)


@pytest.mark.medium
def test_in_mixed_precision_a_fit_is_as_good_and_rollouts_err_far_less_than_the_noise() -> None:
    """Likelihood of fresh rows, and what rounding moves a mean by, in units of the model's own deviation."""
    config = GaussianConfig(members=2, elites=2, hidden=(32, 32), weight_decay=(0.0,) * 3, learning_rate=1e-3)
    config = config.model_copy(update={"batch_size": 64, "max_epochs": 10})
    rows, fresh = toy_rows(2000), toy_rows(1000, seed=1)
    y = fitting.targets(fresh)

    def fitted(precision: str) -> tuple[Fit, float]:
        with computing(precision):
            made = jax.tree.map(lambda leaf: leaf[0], fit_rows(config, rows, jax.random.key(0)[None]))
        mean, std = predict(made.ensemble, fresh.obs, fresh.action)
        density = -0.5 * jnp.square((y - mean) / std) - jnp.log(std)
        return made, float(density[..., 1:].mean())  # the reward has no noise and so no largest likelihood

    (exact, likelihood), (mixed, rounded) = fitted("highest"), fitted("mixed")
    assert rounded > likelihood - 0.05
    np.testing.assert_allclose(mixed.holdout_mse, exact.holdout_mse, rtol=0.03)

    def error() -> float:
        off = jnp.abs(predict(exact.ensemble, fresh.obs, fresh.action).mean - right.mean) / right.std
        return float(jnp.median(off))

    right = predict(exact.ensemble, fresh.obs, fresh.action)
    with computing("mixed"):
        trained = error()
        with imagining():
            imagined = error()
    assert 0 < imagined < trained / 4 < 0.005  # float16 has three digits more
