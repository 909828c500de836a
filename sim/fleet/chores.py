"""What is done at regular times, for as long as anything else goes on."""

from collections.abc import Callable, Generator
from heapq import heappop, heappush
from typing import Any

import simpy

from sim.order import At, Order


class Chores:
    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._todo: list[tuple[int, int, bool, Callable[[], None]]] = []
        self._num_added = 0

    def add(self, at: int, do: Callable[[], None], helps: bool = False) -> None:
        """at: integer nanoseconds since the start of the run. What is added for one instant is done in that order.

        helps: whether something else may happen because of it.
        """
        heappush(self._todo, (at, self._num_added, helps, do))
        self._num_added += 1

    def run(self, is_over: Callable[[], bool]) -> Generator[simpy.Event, Any, None]:
        """A process. It ends when the run is over, or when only chores are left to happen and none helps, or just
        did not.
        """
        while self._todo:
            at, _, helps, do = heappop(self._todo)
            yield At(self._env, at, Order.TIMER)
            if is_over():
                return
            do()
            if self._env.peek() == simpy.core.Infinity and (helps or not any(todo[2] for todo in self._todo)):
                return
