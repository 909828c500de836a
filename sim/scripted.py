"""A world with given durations: every step takes what the script says. For tests, and to work an example by hand."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.cost import StepFeatures


@dataclass(frozen=True)
class ScriptedCost:
    """A cost model. execute: a duration in integer nanoseconds, or a function of the step's features. copy: a block.

    Example: ScriptedCost(execute=lambda step: 1_000_000 * step.num_tokens, schedule=100_000)
    """

    execute: int | Callable[[StepFeatures], int]
    schedule: int = 0
    return_: int = 0
    complete: int = 0
    copy: int = 0
    wake: int = 0
    arrive: int = 0

    def schedule_time(self, step: StepFeatures) -> int:
        return self.schedule

    def execute_time(self, step: StepFeatures) -> int:
        return self.execute if isinstance(self.execute, int) else self.execute(step)

    def return_time(self, step: StepFeatures) -> int:
        return self.return_

    def copy_time(self, num_blocks: int) -> int:
        return self.copy * num_blocks

    def complete_time(self, step: StepFeatures) -> int:
        return self.complete

    def arrive_time(self) -> int:
        return self.arrive

    def wake_time(self) -> int:
        return self.wake
