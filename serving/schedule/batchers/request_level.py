"""Request-level batching: the next batch is made when the last request of the one before has ended.

Who ends early frees its seat, and nobody takes it. Source: how engines batched before Orca (Yu et al., OSDI 2022).
"""

from serving.schedule.batchers.mixed import Mixed
from serving.schedule.draft import Draft


class RequestLevel(Mixed):
    def fill(self, step: Draft) -> None:
        if not step.running:
            super().fill(step)
        else:
            self._continue_running(step, 0)
