"""Who runs when: the order of tasks, and how long a number of slots needs for them, as the sweep itself hands them out.

Longest first is Graham's rule (SIAM J. Appl. Math. 17, 1969, "Bounds on multiprocessing timing anomalies"): without
dependencies it ends at most 4/3 - 1/(3 slots) times later than the best order.
"""

import heapq
from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class Timed(Protocol):
    """What is scheduled."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[str]: ...

    @property
    def cost(self) -> float: ...


One = TypeVar("One", bound=Timed)


def longest_first(tasks: Sequence[One]) -> list[One]:
    """The order in which tasks are started: by what hangs on each, itself included, the longest first."""
    weights = _weights(tasks)
    return sorted(tasks, key=lambda task: -weights[task.name])  # stable: equals stay in the suite's order


def ready(tasks: Sequence[One], open_names: Collection[str]) -> list[One]:
    """The tasks that wait for none of `open_names`, in their order."""
    return [task for task in tasks if task.needs.isdisjoint(open_names)]


def makespan(tasks: Sequence[Timed], slots: int) -> float:
    """Seconds until the last of `tasks` ends when `slots` of them run at a time, each begun as soon as it may be."""
    waiting, running, now = longest_first(tasks), list[tuple[float, str]](), 0.0
    unfinished = {task.name for task in waiting}
    while waiting or running:
        for task in ready(waiting, unfinished)[: slots - len(running)]:
            waiting.remove(task)
            heapq.heappush(running, (now + task.cost, task.name))
        now, name = heapq.heappop(running)
        unfinished.remove(name)
    return now


def _weights(tasks: Sequence[Timed]) -> dict[str, float]:
    """For each task the longest chain of costs that begins with it."""
    weights: dict[str, float] = {}
    followers: dict[str, list[str]] = {}
    for task in tasks:
        for name in task.needs:
            followers.setdefault(name, []).append(task.name)
    costs = {task.name: task.cost for task in tasks}

    def weight(name: str) -> float:
        if name not in weights:
            weights[name] = costs[name] + max((weight(next_) for next_ in followers.get(name, ())), default=0.0)
        return weights[name]

    for task in tasks:
        weight(task.name)
    return weights
