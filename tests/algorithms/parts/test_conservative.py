"""The conservative term: values by hand, gradients, proposals and the learned weight."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offline_mbrl.algorithms.parts import conservative, sac
from offline_mbrl.algorithms.parts.conservative import ConservativeConfig, Draws, Group, Proposals
from offline_mbrl.algorithms.systems.cql import CQLConfig
from offline_mbrl.nn.networks import Params, action_log_prob
from offline_mbrl.types import Array, Metrics, Transition
from tests.algorithms import toys

pytestmark = pytest.mark.medium

PROBLEM = toys.endless(2, 3)
KEY = jax.random.key(3)
GROUPS: tuple[Group, ...] = ("state", "kinds", "batch")


def config(**settings: object) -> ConservativeConfig:
    return ConservativeConfig.model_validate(settings)


def values(repeats: int = 4, rows: int = 5) -> tuple[Array, Array, Array]:
    """Q at the proposals [2, J, 3, B], their log-densities, Q at the data [2, B]."""
    keys = jax.random.split(KEY, 3)
    q = 3 * jax.random.normal(keys[0], (2, repeats, 3, rows))
    return q, jax.random.normal(keys[1], q.shape[1:]), jax.random.normal(keys[2], (2, rows))


def oracle(q: Array, log_density: Array, group: Group, temperature: float, centered: bool) -> list[float]:
    """A loop over critics and groups in float64."""
    z = (np.asarray(q, np.float64) - np.asarray(log_density)) / temperature
    critics, repeats, _, rows = z.shape
    cells: list[np.ndarray]
    soft = []
    for k in range(critics):
        if group == "state":
            cells = [z[k, :, :, b].ravel() for b in range(rows)]
        elif group == "kinds":
            cells = [z[k, j, :, b] for j in range(repeats) for b in range(rows)]
        else:
            cells = [z[k].ravel()]
        sums = [math.log(np.exp(cell).sum()) - centered * math.log(cell.size) for cell in cells]
        soft.append(temperature * float(np.mean(sums)))
    return soft


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("centered", [True, False])
def test_soft_maximum_equals_a_loop(group: Group, centered: bool) -> None:
    q, log_density, _ = values()
    settings = config(lse_group=group, centered=centered, conservative_temperature=0.7)
    expected = oracle(q, log_density, group, 0.7, centered)
    np.testing.assert_allclose(conservative.soft_maximum(settings, q, log_density), expected, rtol=1e-5)
    jitted = jax.jit(lambda q: conservative.soft_maximum(settings, q, log_density))
    np.testing.assert_allclose(jitted(q), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(jitted)(jnp.stack([q, q])), [expected, expected], rtol=1e-5)


def test_thirty_proposals_share_one_sum_by_default() -> None:
    # One of 30 stands out by 20: a sum over 30 sees it in full for the state, sums over 3 only in one repeat of ten.
    q = jnp.zeros((1, 10, 3, 1)).at[0, 0, 0, 0].set(20.0)
    log_density = jnp.zeros((10, 3, 1))
    by_state = conservative.soft_maximum(config(), q, log_density)[0]
    by_kinds = conservative.soft_maximum(config(lse_group="kinds"), q, log_density)[0]
    assert by_state == pytest.approx(20.0 - math.log(30), abs=1e-4)
    assert by_kinds == pytest.approx((20.0 - math.log(3)) / 10, abs=1e-4)


def test_a_constant_value_integrates_to_itself_plus_the_log_volume() -> None:
    draws = conservative.uniform_draws(8, jnp.zeros((5, 3)), KEY)
    soft = conservative.soft_maximum(config(), jnp.full((1, 8, 1, 5), 1.5), draws.log_density[:, None])
    np.testing.assert_allclose(soft, 1.5 + 3 * math.log(2.0), rtol=1e-6)


def test_uniform_draws_fill_the_whole_box() -> None:
    draws = conservative.uniform_draws(100, jnp.zeros((20, 3)), KEY)
    assert draws.action.shape == (100, 20, 3)
    assert float(draws.action.min()) < -0.99
    assert float(draws.action.max()) > 0.99
    np.testing.assert_allclose(draws.log_density, -3 * math.log(2.0), rtol=1e-6)


def test_the_term_raises_the_data_and_lowers_the_proposals() -> None:
    q, log_density, q_data = values()

    def term(q: Array, q_data: Array) -> Array:
        return conservative.conservative_term(config(), q, log_density, q_data).sum()

    down, up = jax.grad(term, argnums=(0, 1))(q, q_data)
    shares = jnp.moveaxis(jax.nn.softmax(jnp.moveaxis(q - log_density, -1, 1).reshape(2, 5, -1), -1), 1, -1)
    np.testing.assert_allclose(down.reshape(2, -1, 5), shares / 5, rtol=1e-4)
    np.testing.assert_allclose(down.sum(axis=(1, 2, 3)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(up, -1 / 5, rtol=1e-6)


def test_without_maximization_the_data_are_not_in_the_term() -> None:
    q, log_density, q_data = values()
    settings = config(maximize_data=False)
    term = conservative.conservative_term(settings, q, log_density, q_data)
    np.testing.assert_array_equal(term, conservative.soft_maximum(settings, q, log_density))


def linear(hidden: tuple[int, ...] = ()) -> sac.SAC:
    return sac.make(PROBLEM, CQLConfig(hidden=hidden, batch_size=4), 10)


def batch() -> Transition:
    return toys.random_rows(4, 2, 3)._replace(reward=jnp.zeros(4), discount=jnp.ones(4))


def test_policy_draws_know_their_density() -> None:
    agent, rows = linear(), batch()
    actor = sac.init(agent, KEY).actor.params
    draws = conservative.policy_draws(agent, actor, rows.obs, 3, KEY)
    parameters = sac.policy_parameters(agent, actor, rows.obs)
    assert draws.action.shape == (3, 4, 3)
    for action, log_density in zip(draws.action, draws.log_density, strict=True):
        np.testing.assert_allclose(log_density, action_log_prob(*parameters, action), rtol=1e-3, atol=1e-3)
    assert float(jnp.abs(draws.action[0] - draws.action[1]).max()) > 1e-3


def test_no_gradient_reaches_the_actor() -> None:
    agent, rows = linear(), batch()
    learner = sac.init(agent, KEY)

    def loss(actor: object) -> Array:
        draws = conservative.policy_draws(agent, actor, rows.obs, 3, KEY)
        proposals = conservative.propose(rows.obs, draws, draws)
        target, weight = jnp.zeros(4), jnp.ones(())
        return conservative.critic_loss(config(), agent, learner.critic.params, rows, target, proposals, 4, weight)[0]

    assert all(float(jnp.abs(leaf).max()) == 0 for leaf in jax.tree.leaves(jax.grad(loss)(learner.actor.params)))


def test_critic_loss_by_hand() -> None:
    # Q(s, a) = s_0 + 2 a_0 for both critics. Rows: Q = 1 and 3, targets 0; proposals at s_0 = 1, 2: a_0 = 0 and 0.5.
    agent = sac.make(toys.endless(1, 1), CQLConfig(hidden=(), batch_size=2), 1)
    critic = toys.linear_critics([[1.0, 2.0]] * 2)
    rows = Transition(
        jnp.array([[1.0], [2.0]]), jnp.array([[0.0], [0.5]]), jnp.zeros(2), jnp.ones(2), jnp.zeros((2, 1))
    )
    proposals = Proposals(rows.obs, jnp.array([0.0, 0.5]).reshape(1, 2, 1, 1).repeat(2, axis=2), jnp.zeros((1, 2, 2)))
    settings = config(conservative_weight=3.0, centered=False)
    soft = (math.log(math.exp(1) + math.exp(2)) + math.log(math.exp(2) + math.exp(3))) / 2
    # Only the first row is the data's, so the data's mean Q is 1.
    expected = 2 * ((1 + 9) / 2 + 0.5 * 3.0 * (soft - 1.0))

    def loss(weight: Array) -> tuple[Array, Metrics]:
        return conservative.critic_loss(settings, agent, critic, rows, jnp.zeros(2), proposals, 1, weight)

    value, metrics = loss(jnp.asarray(0.5))
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert float(jax.jit(loss)(jnp.asarray(0.5))[0]) == pytest.approx(expected, rel=1e-6)
    assert float(metrics["conservative"]) == pytest.approx(soft - 1.0, rel=1e-6)
    assert float(metrics["gap"]) == pytest.approx((1.0 + 2.0) / 2 - 1.0, rel=1e-6)


@pytest.mark.parametrize(("maximize_data", "expected"), [(False, 0.5 * 3.0), (True, 0.0)])
def test_push_down_and_push_up_sum_to_beta_for_each_critic(maximize_data: bool, expected: float) -> None:
    """The derivative in a critic's bias, where the Bellman error has none: w beta, less w beta for the data."""
    agent, rows = linear(), batch()
    learner = sac.init(agent, KEY)
    draws = conservative.uniform_draws(5, rows.action, KEY)
    settings = config(conservative_weight=3.0, maximize_data=maximize_data)
    learner = learner.replace(
        critic=learner.critic.replace(params=jax.tree.map(lambda leaf: leaf.at[1].set(leaf[0]), learner.critic.params))
    )
    target = sac.q_values(agent, learner.critic.params, rows.obs, rows.action)[0]

    def loss(critic: Params) -> Array:
        proposals = conservative.propose(rows.obs, draws)
        return conservative.critic_loss(settings, agent, critic, rows, target, proposals, 2, jnp.asarray(0.5))[0]

    slope = jax.grad(loss)(learner.critic.params)["MLP_0"]["Dense_0"]["bias"]
    np.testing.assert_allclose(slope, np.full((2, 1), expected), atol=1e-5)


def test_narrow_and_uniform_proposals_estimate_one_integral() -> None:
    # log of the integral of exp(-a^2) over [-1, 1] = log(sqrt(pi) erf(1)).
    truth = math.log(math.sqrt(math.pi) * math.erf(1.0))
    uniform = conservative.uniform_draws(20_000, jnp.zeros((1, 1)), KEY)
    u = jax.random.normal(KEY, (20_000, 1, 1)) * 0.7
    log_density = jax.scipy.stats.norm.logpdf(u[..., 0], 0.0, 0.7) - jnp.log(1 - jnp.tanh(u[..., 0]) ** 2 + 1e-9)
    narrow = Draws(jnp.tanh(u), log_density)
    for draws in (uniform, narrow):
        q = -jnp.square(draws.action[..., 0])[None, :, None]
        assert float(conservative.soft_maximum(config(), q, draws.log_density[:, None])[0]) == pytest.approx(
            truth, abs=0.03
        )


def test_the_learned_weight_rises_above_the_threshold_and_falls_below_it() -> None:
    settings = config(weighting="learned", threshold=5.0, conservative_weight=2.0)
    start = conservative.init_weight(settings)
    assert conservative.update_weight(settings, start, jnp.asarray(2.6)).params > 0
    assert conservative.update_weight(settings, start, jnp.asarray(2.4)).params < 0


def test_the_clamp_of_the_learned_weight_lets_go() -> None:
    settings = config(weight_max=1.01, weight_lr=0.1, threshold=0.0)
    weight = conservative.init_weight(settings)
    for _ in range(3):
        weight = conservative.update_weight(settings, weight, jnp.asarray(1.0))
    assert float(jnp.exp(weight.params)) == pytest.approx(1.01, rel=1e-5)
    for _ in range(8):
        weight = conservative.update_weight(settings, weight, jnp.asarray(-1.0))
    assert float(jnp.exp(weight.params)) < 1.0


def test_the_naive_weight_grows_on_the_count_alone() -> None:
    # All values are equal, so nothing is over-valued; flattened and not centered the term is still log n + m log 2.
    naive = config(weighting="learned", lse_group="batch", centered=False, threshold=0.0, conservative_weight=1.0)
    sound = config(weighting="learned", threshold=5.0, conservative_weight=1.0)
    q, q_data = jnp.zeros((2, 10, 3, 256)), jnp.zeros((2, 256))
    log_density = jnp.full((10, 3, 256), -3 * math.log(2.0))
    steps = [
        conservative.update_weight(
            c, conservative.init_weight(c), conservative.conservative_term(c, q, log_density, q_data).mean()
        )
        for c in (naive, sound)
    ]
    assert steps[0].params > 0 > steps[1].params


def test_two_hundred_steps_lower_unseen_actions_below_the_data() -> None:
    # The data's actions are all +0.5 and the Bellman target is 0.
    obs = jax.random.normal(KEY, (64, 2))
    rows = Transition(obs, jnp.full((64, 1), 0.5), jnp.zeros(64), jnp.ones(64), obs)

    def values_after(beta: float) -> tuple[float, float]:
        settings = CQLConfig(hidden=(32,), batch_size=64, critic_lr=3e-3, conservative_weight=beta)
        agent = sac.make(toys.endless(2, 1), settings, 200)

        def step(learner: sac.SACState, key: Array) -> tuple[sac.SACState, None]:
            proposals = conservative.propose(obs, conservative.uniform_draws(12, rows.action, key))
            weight, target = conservative.init_weight(settings), jnp.zeros(64)
            learner, _, _ = conservative.update_critic(settings, agent, learner, weight, rows, target, proposals, 64)
            return learner, None

        end, _ = jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(KEY, 200)))(sac.init(agent, KEY))
        seen, unseen = (
            sac.q_values(agent, end.critic.params, obs, jnp.full((64, 1), action)).mean() for action in (0.5, -0.8)
        )
        return float(seen), float(unseen)

    (seen, unseen), (plain_seen, plain_unseen) = values_after(5.0), values_after(0.0)
    # The term does not see a constant, so the Bellman error holds the data at their target and the rest goes down.
    assert abs(seen) < 0.2
    assert unseen < plain_unseen - 1.0
    assert seen - unseen > plain_seen - plain_unseen + 1.0
