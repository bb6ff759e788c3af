"""One data set of transitions: its arrays, its episodes, where it comes from, and the rules at episode boundaries."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from offline_mbrl.errors import UserError
from offline_mbrl.tasks import Task
from offline_mbrl.types import Data, Interval, Transition

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

DataPhysics = Literal["d4rl-v2", "gymnasium-v4", "gymnasium-v5", "synthetic", "unknown"]
"""The physics that made the transitions: the simulator's two, and those of data from elsewhere."""

ACTION_EXCESS = 1e-3
"""Actions this far outside [-1, 1] are rounding and are clipped; beyond it the file holds other actions than ours."""

MOST_ROWS = 20_000_000
"""Ten times D4RL's largest set: a request or a file of more is a mistake, which would take all memory."""


class Episodes(NamedTuple):
    """One entry per episode, in the order of the rows; an episode neither terminal nor timed out was cut."""

    lengths: NDArray[np.int64]  # [E] rows in the data set
    returns: NDArray[np.float64]  # [E] undiscounted, of all its steps: those whose rows were dropped count too
    terminals: Bools  # [E] it ended in a true terminal
    timeouts: Bools  # [E] it ended at the time limit

    @property
    def complete(self) -> Bools:
        """[E] bool, the episode was not cut: only these have a return that may be compared."""
        return self.terminals | self.timeouts


@dataclass(frozen=True, eq=False)
class Dataset:
    """Transitions of whole episodes laid end to end, on the host, read-only; build it with `from_raw`.

    Two data sets are the same when their `fingerprint` is; `source` and `physics` go into every record made from one.
    """

    task: Task
    source: str  # "builtin", "d4rl-v2", "d4rl-v0", "minari", "synthetic"
    name: str  # "hopper-medium@100k"
    physics: DataPhysics
    observations: Floats  # [n, obs_dim]
    actions: Floats  # [n, action_dim] in [-1, 1]
    rewards: Floats  # [n]
    discounts: Floats  # [n] 0 at true terminals, 1 everywhere else
    next_observations: Floats  # [n, obs_dim]
    known_next: Bools  # [n] bool, the next observation is the true one; a terminal row without has its own as a filler
    episodes: Episodes

    def __len__(self) -> int:
        return len(self.rewards)

    @cached_property
    def ends(self) -> Bools:
        """[n] bool, the row is the last of its episode, which was terminal, timed out or cut there."""
        ends = np.zeros(len(self), np.bool_)
        ends[np.cumsum(self.episodes.lengths) - 1] = True
        return ends

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the task, the physics and every row; source and name are labels and do not enter."""
        digest = hashlib.sha256(f"{self.task.name}|{self.physics}".encode())
        unknown = () if self.known_next.all() else (self.known_next,)
        for array in (*self.transitions, self.ends, *unknown):
            digest.update(f"|{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def transitions(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """The arrays in the order of `Transition`'s fields."""
        return self.observations, self.actions, self.rewards, self.discounts, self.next_observations


def from_raw(
    task: Task,
    *,
    source: str,
    name: str,
    physics: DataPhysics,
    observations: ArrayLike,
    actions: ArrayLike,
    rewards: ArrayLike,
    terminals: ArrayLike,
    timeouts: ArrayLike,
    next_observations: ArrayLike | None = None,
) -> Dataset:
    """A data set from logged arrays of n steps, under the rules at episode boundaries.

    Next observations stored: every row is kept with the stored one, discount 0 at terminals only, never at time-outs.
    An observation that is not the row before's next one starts a new episode, whether or not a flag says so.
    Not stored: s'_i = s_{i+1}, which at an episode's last step would be the next episode's reset state. A last row that
    timed out or was cut is dropped. One that is terminal stays, as its target r + 0 * V(s') needs no s': it has its own
    observation as a filler there and `known_next` False, for those who learn what s' is.

    Raises:
        UserError: an array has the wrong length or width, holds other than finite numbers, flags are neither 0 nor 1,
            or actions leave [-1, 1].
    """
    obs, act = _column(name, "observations", observations), _clip(_column(name, "actions", actions))
    reward = _squeeze(_column(name, "rewards", rewards))
    terminal, timeout = _flags(name, "terminals", terminals), _flags(name, "timeouts", timeouts)
    next_obs = None if next_observations is None else _column(name, "next_observations", next_observations)
    _check(task, name, obs, act, reward, terminal, timeout, next_obs)
    timeout = timeout & ~terminal
    ends = terminal | timeout
    ends[-1] = True
    if next_obs is None:
        keep = ~ends | terminal
        next_obs = np.where(terminal[:, None], obs, np.roll(obs, -1, axis=0))
    else:
        keep = np.ones(len(obs), np.bool_)
        ends[:-1] |= (next_obs[:-1] != obs[1:]).any(-1)
    known = ~terminal if next_observations is None else np.ones_like(terminal)
    episodes = _episodes(reward, terminal, timeout, ends, keep)
    if not episodes.lengths.size:
        raise UserError(f"{name}: no usable transition is left at the episodes' ends; the file is too short")
    columns = (obs, act, reward, 1 - terminal.astype(np.float32), next_obs, known)
    obs, act, reward, discount, next_obs, known = (read_only(_take(column, keep)) for column in columns)
    return Dataset(task, source, name, physics, obs, act, reward, discount, next_obs, known, episodes)


def check_size(size: int | None) -> None:
    """Refuses a number of rows to make that is out of range; None, the default number, is not."""
    if size is not None and not 1 <= size <= MOST_ROWS:
        raise UserError(f"a data set of {size} rows cannot be made; ask for 1 to {MOST_ROWS:,}")


def to_device(dataset: Dataset, *, only_known_next: bool = False) -> Data:
    """The data set as JAX arrays on the default device; an episode that was cut has the return of what is there.

    `only_known_next` leaves out the rows whose next observation is a filler: for what learns to predict it.
    """
    episodes = dataset.episodes
    usable = dataset.known_next if only_known_next else np.ones(len(dataset), np.bool_)
    if not usable.any():
        raise UserError(f"{dataset.name}: no row has a next observation to learn from; the file is too short")
    episode = np.repeat(np.arange(len(episodes.lengths)), episodes.lengths)[usable]
    starts = np.diff(episode, prepend=-1) != 0
    return Data(
        transitions=Transition(*(jnp.asarray(_take(column, usable)) for column in dataset.transitions)),
        episode_return=jnp.asarray(episodes.returns[episode], jnp.float32),
        is_first=jnp.asarray(starts),
        has_next=jnp.asarray(~np.append(starts[1:], True)),
    )


def end_to_end(sets: Sequence[Data], lanes: Sequence[int]) -> Data:
    """Data of one robot's tasks in one array, and which rows are each lane's own; a set that is alone as it is.

    Args:
      sets: one for each task, none of which says what is a lane's own.
      lanes: of each set, whose lanes follow each other.
    """
    if len(sets) == 1:
        return sets[0]
    sizes = np.array([data.is_first.shape[0] for data in sets])
    own = (jnp.asarray(np.repeat(column, lanes), jnp.int32) for column in (np.cumsum(sizes) - sizes, sizes))
    joined: Data = jax.tree.map(lambda *columns: jnp.concatenate(columns), *sets)
    return joined._replace(own=Interval(*own))


def _episodes(reward: Floats, terminal: Bools, timeout: Bools, ends: Bools, keep: Bools) -> Episodes:
    """The episodes that `ends` cuts the rows into, with the number of rows to `keep`; those without any vanish."""
    last = np.flatnonzero(ends)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = np.add.reduceat(keep.astype(np.int64), first)
    returns = np.add.reduceat(reward.astype(np.float64), first)
    nonempty = lengths > 0
    return Episodes(lengths[nonempty], returns[nonempty], terminal[last][nonempty], timeout[last][nonempty])


def _take(column: NDArray[Any], rows: Bools) -> NDArray[Any]:
    """The `rows` of a column; the column itself, no copy, where they are all."""
    return column if rows.all() else column[rows]


def _column(name: str, column: str, array: ArrayLike) -> Floats:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which is refused
        return np.ascontiguousarray(_numbers(name, column, array), np.float32)


def _squeeze(rewards: Floats) -> Floats:
    return rewards[:, 0] if rewards.ndim == 2 and rewards.shape[1] == 1 else rewards


def _flags(name: str, column: str, array: ArrayLike) -> Bools:
    flags = _numbers(name, column, array).reshape(-1)
    wrong = np.flatnonzero((flags != 0) & (flags != 1))  # NaN is neither
    if wrong.size:
        raise UserError(f"{name}: {column} are 0 or 1; row {wrong[0]} holds {flags[wrong[0]]}")
    return flags.astype(np.bool_)


def _numbers(name: str, column: str, array: ArrayLike) -> NDArray[np.generic]:
    """The array, if it holds truth values, integers or real numbers: NumPy reads numbers out of text too."""
    numbers = np.asarray(array)
    if numbers.dtype.kind not in "biuf":
        raise UserError(f"{name}: {column} hold {numbers.dtype}, not numbers")
    return numbers


def _clip(actions: Floats) -> Floats:
    """Actions with rounding clipped off; those too far outside stay as they are, for `_check` to name."""
    excess = np.abs(actions).max(initial=0.0)
    return np.clip(actions, -1, 1) if 1 < excess <= 1 + ACTION_EXCESS else actions


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view of `array` that cannot be written through."""
    view = array.view()
    view.flags.writeable = False
    return view


def _check(
    task: Task,
    name: str,
    obs: Floats,
    act: Floats,
    reward: Floats,
    terminal: Bools,
    timeout: Bools,
    next_obs: Floats | None,
) -> None:
    rows, robot = len(obs), task.robot
    shapes: dict[str, tuple[Floats | Bools, tuple[int, ...]]] = {
        "observations": (obs, (rows, robot.obs_dim)),
        "actions": (act, (rows, robot.action_dim)),
        "rewards": (reward, (rows,)),
        "terminals": (terminal, (rows,)),
        "timeouts": (timeout, (rows,)),
    }
    if next_obs is not None:
        shapes["next_observations"] = (next_obs, (rows, robot.obs_dim))
    for column, (array, shape) in shapes.items():
        if array.shape != shape or not rows:
            raise UserError(
                f"{name}: {column} have shape {array.shape}; {task.name} needs {shape} and at least one row"
            )
        _check_finite(name, column, array)
    beyond = np.flatnonzero((np.abs(act) > 1 + ACTION_EXCESS).any(-1))
    if beyond.size:
        raise UserError(f"{name}: actions leave [-1, 1] in {beyond.size} rows, first in row {beyond[0]}; rescale them")


def _check_finite(name: str, column: str, array: Floats | Bools) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.argmax(bad.reshape(len(array), -1).any(-1)))
        raise UserError(f"{name}: {column} hold NaN or infinity, first in row {row}; repair or drop the episode")
