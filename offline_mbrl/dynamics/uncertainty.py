"""How unsure the ensemble is of a step: one function for each penalty of the literature.

Each takes a `Gaussian` with mean and std [N, B, d + 1] (reward first) and the elite [B] that was sampled, and gives
[B]; one that asks for it is handed the step that was drawn, [B, d + 1], too. A superscript s below means the state
dimensions only.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp

from offline_mbrl.dynamics.ensemble import Gaussian, pick
from offline_mbrl.errors import UserError
from offline_mbrl.types import Array


def max_aleatoric(prediction: Gaussian, member: Array) -> Array:
    """max_i ||sigma_i||_2: MOPO's own code (Yu et al. 2020, arXiv 2005.13239)."""
    return _norm(prediction.std).max(axis=0)


def max_pair(prediction: Gaussian, member: Array) -> Array:
    """max_{i,j} ||mu_i^s - mu_j^s||_2: MOReL's disagreement (Kidambi et al. 2020, arXiv 2005.05951)."""
    mean = prediction.mean[..., 1:]
    return _norm(mean[:, None] - mean[None]).max(axis=(0, 1))


def max_center(prediction: Gaussian, member: Array) -> Array:
    """max_i ||mu_i^s - mean_j mu_j^s||_2: MOPO's code without learned variances."""
    mean = prediction.mean[..., 1:]
    return _norm(mean - mean.mean(axis=0)).max(axis=0)


def mixture_variance(prediction: Gaussian) -> Array:
    """v_k = mean_i sigma_ik^2 + Var_i mu_ik: the law of total variance, [B, d + 1]."""
    return jnp.square(prediction.std).mean(axis=0) + prediction.mean.var(axis=0)


def ens_var(prediction: Gaussian, member: Array) -> Array:
    """sum_k v_k: total variance of the Gaussian mixture."""
    return mixture_variance(prediction).sum(axis=-1)


def ens_std(prediction: Gaussian, member: Array) -> Array:
    """mean_k sqrt(v_k): the one that Lu et al. 2022 (arXiv 2110.04135) favor."""
    return jnp.sqrt(mixture_variance(prediction)).mean(axis=-1)


def ens_var_report(prediction: Gaussian, member: Array) -> Array:
    """sum_i ||sigma_i||_2 + sum_i ||mu_i^s||_2 - ||sum_i mu_i^s||_2: called a variance in one report; it is not one."""
    mean = prediction.mean[..., 1:]
    return _norm(prediction.std).sum(axis=0) + _norm(mean).sum(axis=0) - _norm(mean.sum(axis=0))


def epistemic_std(prediction: Gaussian, member: Array) -> Array:
    """sqrt(mean_k Var_i mu_ik^s): disagreement alone (OfflineRL-Kit's "ensemble_std")."""
    return jnp.sqrt(prediction.mean[..., 1:].var(axis=0).mean(axis=-1))


def individual(prediction: Gaussian, member: Array) -> Array:
    """||sigma_{i*}||_2 of the sampled elite i*."""
    return _norm(pick(prediction, member).std)


def combined(prediction: Gaussian, member: Array) -> Array:
    """(individual + max_aleatoric) / 2."""
    return 0.5 * (individual(prediction, member) + max_aleatoric(prediction, member))


def ll_var(prediction: Gaussian, member: Array, drawn: Array) -> Array:
    """Var_i log N(y; mu_i, sigma_i) at the step y that was drawn: "LL Var" of Lu et al. 2022 (arXiv 2110.04135)."""
    errors = (drawn - prediction.mean) / prediction.std
    # The constant of the density is the same for all members, so it has no variance.
    return (-0.5 * jnp.square(errors) - jnp.log(prediction.std)).sum(axis=-1).var(axis=0)


def loo_kl(prediction: Gaussian, member: Array) -> Array:
    """KL(N_{i*} || N_{-i*}) of the sampled elite and the others' mixture, taken as the Gaussian of its moments.

    One against the rest, in Pan et al. 2020 (arXiv 2010.04893); "LOO KL" of Lu et al. 2022 (arXiv 2110.04135).
    """
    own, count = pick(prediction, member), prediction.mean.shape[0]
    others = (jnp.arange(count)[:, None] != member)[..., None] / (count - 1)  # [N, B, 1], weights of the mixture
    mean = (others * prediction.mean).sum(axis=0)
    spread = jnp.square(prediction.std) + jnp.square(prediction.mean - mean)
    variance = (others * spread).sum(axis=0)
    ratio = jnp.square(own.std) / variance
    return 0.5 * (ratio - jnp.log(ratio) - 1 + jnp.square(own.mean - mean) / variance).sum(axis=-1)


def _norm(x: Array) -> Array:
    # Not jnp.linalg.norm: its gradient at 0 is NaN, and identical members meet that point.
    squared = jnp.square(x).sum(axis=-1)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


PenaltyName = Literal[
    "max_aleatoric",
    "max_pair",
    "max_center",
    "ens_var",
    "ens_std",
    "ens_var_report",
    "epistemic_std",
    "individual",
    "combined",
    "ll_var",
    "loo_kl",
]


class Penalty(NamedTuple):
    """A penalty and what it asks of a model: every member or only the sampled one, and a predicted noise or none."""

    measure: Callable[..., Array]
    all_members: bool = True
    noise: bool = False  # it is 0, or has no value, where the members predict no noise
    drawn: bool = False  # it is measured at the step that was drawn

    def __call__(self, prediction: Gaussian, member: Array, drawn: Array) -> Array:
        """u [B] of what all members predict, the elite that was sampled, and the step that was drawn from it."""
        return self.measure(prediction, member, drawn) if self.drawn else self.measure(prediction, member)


PENALTIES: dict[PenaltyName, Penalty] = {
    "max_aleatoric": Penalty(max_aleatoric, noise=True),
    "max_pair": Penalty(max_pair),
    "max_center": Penalty(max_center),
    "ens_var": Penalty(ens_var),
    "ens_std": Penalty(ens_std),
    "ens_var_report": Penalty(ens_var_report),
    "epistemic_std": Penalty(epistemic_std),
    "individual": Penalty(individual, all_members=False, noise=True),
    "combined": Penalty(combined, noise=True),
    "ll_var": Penalty(ll_var, noise=True, drawn=True),
    "loo_kl": Penalty(loo_kl, noise=True),
}
assert set(PENALTIES) == set(get_args(PenaltyName))


def require_noise(penalty: PenaltyName, kind: str) -> None:
    """A penalty on the predicted noise means nothing where members predict none.

    Raises:
      UserError: `kind` is deterministic and `penalty` would be 0 everywhere.
    """
    if kind == "deterministic" and PENALTIES[penalty].noise:
        able = ", ".join(name for name, known in PENALTIES.items() if not known.noise)
        raise UserError(
            f"penalty={penalty} means nothing for a deterministic model, which predicts no noise; choose {able}"
        )
