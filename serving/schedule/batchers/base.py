"""What a batcher is."""

from typing import Protocol

from serving.schedule.draft import Draft


class Batcher(Protocol):
    publishes_when_scheduled: bool
    """True: full blocks can be hit from the moment their step is scheduled; False: only once it is complete."""

    def fill(self, step: Draft) -> None: ...
