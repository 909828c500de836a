"""What a batcher is, and how its engine keeps the KV pool."""

from typing import Protocol

from serving.schedule.config import EngineConfig
from serving.schedule.draft import Draft
from serving.state.pool import BlockPool


class Batcher(Protocol):
    publishes_when_scheduled: bool
    """True: full blocks can be hit from the moment their step is scheduled; False: only once it is complete."""

    def new_pool(self, config: EngineConfig) -> BlockPool: ...

    def fill(self, step: Draft) -> None: ...
