"""ATAC: adversarially trained actor critic (Cheng et al. 2022, arXiv 2202.02446).

The game of `adversarial.py` on the logged tuples: the critic is as pessimistic about the policy, relative to the logged
actions, as the Bellman error lets it be,

    max_pi L(f, pi)   s.t.   f = argmin_f  mean [ f(s, pi) - f(s, a) ] + beta E^w(f, pi).
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, Pretrained, sample_rows, sample_starts
from offline_mbrl.algorithms.parts import adversarial, sac
from offline_mbrl.algorithms.parts.adversarial import AdversarialConfig, Game, GameState, Pessimism
from offline_mbrl.keys import stream
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class ATACConfig(AdversarialConfig):
    """What ATAC adds to the game."""

    pessimism: Literal["relative", "absolute"] = Field(
        "relative", description="L against the logged actions, or over start states against nothing (ATAC0)"
    )


@dataclass(frozen=True)
class ATAC:
    """The static half: the game, and what its pessimism is relative to."""

    config: ATACConfig
    game: Game


def make(problem: Problem, config: ATACConfig, steps: int) -> ATAC:
    """ATAC for a run of `steps` gradient steps, those of the warm start included."""
    return ATAC(config, adversarial.make(problem, config, steps))


def init(atac: ATAC, key: Key, data: Data, pretrained: Pretrained) -> GameState:
    """Fresh players, with start states of the data where the pessimism is absolute."""
    absolute = atac.config.pessimism == "absolute"
    starts = sample_starts(data, stream(key, "starts"), adversarial.STARTS) if absolute else None
    return adversarial.init(atac.game, key, starts)


def sample(atac: ATAC, state: GameState, data: Data, key: Key) -> Transition:
    """Rows of the data."""
    return sample_rows(data, key, atac.config.batch_size)


def pessimism(atac: ATAC, state: GameState, rows: Transition, action: Array, key: Key) -> Pessimism:
    """L of the policy's actions [B, m] at the rows."""
    if atac.config.pessimism == "absolute":
        return adversarial.absolute(atac.game, state, key)
    return adversarial.against_logged(atac.game, rows, action)


def update_critic(atac: ATAC, state: GameState, rows: Transition, action: Array, key: Key) -> tuple[GameState, Metrics]:
    """One step of the critics against the policy's actions [B, m] at the rows."""
    game, learner = atac.game, state.learner
    next_action, _ = sac.sample_action(game.agent, learner.actor.params, rows.next_obs, stream(key, "next_action"))
    grads, metrics = jax.grad(adversarial.adversary_loss, argnums=1, has_aux=True)(
        game, learner.critic.params, state, rows, next_action, pessimism(atac, state, rows, action, key)
    )
    return adversarial.update_critic(game, state, grads), metrics


def update(atac: ATAC, state: GameState, rows: Transition, key: Key) -> tuple[GameState, Metrics]:
    """Critics, then temperature and actor on the same actions, then targets."""
    game, action_key = atac.game, stream(key, "action")
    action, log_prob = sac.sample_action(game.agent, state.learner.actor.params, rows.obs, action_key)
    state, critic_metrics = update_critic(atac, state, rows, action, key)
    state, actor_metrics = adversarial.update_actor(game, state, rows.obs, rows.action, log_prob.mean(), action_key)
    return adversarial.finish_step(game, state), critic_metrics | actor_metrics


def act(atac: ATAC, state: GameState, obs: Array, key: Key, deterministic: bool) -> Array:
    """The actor's action."""
    return sac.act(atac.game.agent, state.learner.actor.params, obs, key, deterministic)


def value(atac: ATAC, state: GameState, obs: Array, action: Array) -> Array:
    """min_k Q_k(s, a)."""
    return sac.q_values(atac.game.agent, state.learner.critic.params, obs, action).min(axis=0)


def law(atac: ATAC, state: GameState, obs: Array) -> tuple[Array, Array]:
    """The actor's Gaussian."""
    return sac.policy_parameters(atac.game.agent, state.learner.actor.params, obs)


def build(problem: Problem, config: ATACConfig, steps: int) -> Algorithm:
    """ATAC for a run of `steps` gradient steps, those of the warm start included."""
    atac = make(problem, config, steps)
    functions = partial(init, atac), partial(sample, atac), partial(update, atac), partial(act, atac)
    return Algorithm(*functions, value=partial(value, atac), law=partial(law, atac), samples_ahead=True)


DEFINITION = Definition(
    name="atac",
    title="Adversarially Trained Actor Critic",
    paper="Cheng et al., ICML 2022, arXiv 2202.02446",
    equation="max_pi mean [f(s,pi) - f(s,a)],  f = argmin_f mean [f(s,pi) - f(s,a)] + beta E^w(f,pi)",
    config=ATACConfig,
    build=build,
    deviations=(
        "The warm start is the first part of the run's own steps (100,000 of 1,100,000), so it is evaluated, "
        "checkpointed and resumed like the rest.",
        "The targets are set to the critics when the warm start ends; the rewrite lightATAC as first released went on "
        "with targets of untrained networks.",
        "Both critics take one simultaneous Adam step (Adam is elementwise, so it equals the official two).",
        "No clipping of the backup (the official default; lightATAC offers it as an option).",
        "Scores are means of the last ten evaluations; the official script reports the median of its last 50 epochs.",
        "Logged actions are pulled 1e-5 inside the box before their likelihood is taken (lightATAC: 1e-6).",
        "ATAC0 draws from 1024 start states that were drawn from the data's once.",
    ),
    across_tasks=True,
)
