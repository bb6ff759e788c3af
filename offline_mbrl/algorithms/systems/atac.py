"""ATAC: adversarially trained actor critic (Cheng et al. 2022, arXiv 2202.02446).

The game of `adversarial.py` on the logged tuples: the critic is as pessimistic about the policy, relative to the logged
actions, as the Bellman error lets it be,

    max_pi L(f, pi)   s.t.   f = argmin_f  mean [ f(s, pi) - f(s, a) ] + beta E^w(f, pi).
"""

from typing import Literal

import jax
from pydantic import Field

from offline_mbrl.algorithms.algorithm import Algorithm, Definition, sample_rows, sample_starts
from offline_mbrl.algorithms.parts import adversarial, sac
from offline_mbrl.algorithms.parts.adversarial import AdversarialConfig, GameState, Pessimism
from offline_mbrl.dynamics.ensemble import Ensemble
from offline_mbrl.keys import stream
from offline_mbrl.types import Array, Data, Key, Metrics, Problem, Transition


class ATACConfig(AdversarialConfig):
    """What ATAC adds to the game."""

    pessimism: Literal["relative", "absolute"] = Field(
        "relative", description="L against the logged actions, or over start states against nothing (ATAC0)"
    )


def build(problem: Problem, config: ATACConfig, steps: int) -> Algorithm:
    """ATAC for a run of `steps` gradient steps, those of the warm start included."""
    game = adversarial.make(problem, config, steps)

    def init(key: Key, data: Data, ensemble: Ensemble | None) -> GameState:
        absolute = config.pessimism == "absolute"
        starts = sample_starts(data, stream(key, "starts"), adversarial.STARTS) if absolute else None
        return adversarial.init(game, key, starts)

    def sample(state: GameState, data: Data, key: Key) -> Transition:
        return sample_rows(data.transitions, key, config.batch_size)

    def pessimism(state: GameState, rows: Transition, action: Array, key: Key) -> Pessimism:
        if config.pessimism == "absolute":
            return adversarial.absolute(game, state, key)
        return adversarial.against_logged(game, rows, action)

    def update(state: GameState, rows: Transition, key: Key) -> tuple[GameState, Metrics]:
        actor, action_key = state.learner.actor.params, stream(key, "action")
        action, log_prob = sac.sample_action(game.agent, actor, rows.obs, action_key)
        next_action, _ = sac.sample_action(game.agent, actor, rows.next_obs, stream(key, "next_action"))
        grads, critic_metrics = jax.grad(adversarial.adversary_loss, argnums=1, has_aux=True)(
            game, state.learner.critic.params, state, rows, next_action, pessimism(state, rows, action, key)
        )
        state = adversarial.update_critic(game, state, grads)
        state, actor_metrics = adversarial.update_actor(game, state, rows.obs, rows.action, log_prob.mean(), action_key)
        return adversarial.finish_step(game, state), critic_metrics | actor_metrics

    def act(state: GameState, obs: Array, key: Key, deterministic: bool) -> Array:
        return sac.act(game.agent, state.learner.actor.params, obs, key, deterministic)

    return Algorithm(init, sample, update, act)


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
)
