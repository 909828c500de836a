"""Slices of one kind on as few threads as it takes: a thread of a trace shows slices that do not overlap."""

from collections.abc import Mapping
from typing import Any

from lab.trace.events import Events


class Lanes:
    """One kind of slice of one replica, told in order of their begins.

    A second lane opens where two are under way at once. name: of the lane; the second is called "name (2)". order:
    where they are shown, from above.
    """

    def __init__(self, events: Events, process: int, name: str, order: int) -> None:
        self._events = events
        self._process = process
        self._name = name
        self._order = order
        self._ends: list[int] = []
        self._lanes: list[int] = []

    def add(self, start: int, end: int, name: str, args: Mapping[str, Any], flow: int = -1) -> None:
        """[start, end): integer nanoseconds. flow: see Events.begin()."""
        place = next((n for n, free_at in enumerate(self._ends) if free_at <= start), len(self._ends))
        if place == len(self._ends):
            self._ends.append(end)
            suffix = f" ({place + 1})" if place else ""
            self._lanes.append(self._events.new_lane(self._process, f"{self._name}{suffix}", self._order))
        self._ends[place] = end
        self._events.begin(self._process, self._lanes[place], start, name, args, flow)
        self._events.end(self._process, self._lanes[place], end)
