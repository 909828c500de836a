"""What a runner leaves to a device: a step's arrays become tokens."""

from collections.abc import Callable
from typing import Protocol

from realexec.kv_cache import KVCache
from realexec.sequences import StepInputs


class Executor(Protocol):
    """One model on one device, with its KV cache."""

    cache: KVCache

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """See Runner."""

    def conditions(self) -> dict[str, object]:
        """What a measurement on it must say of it: device, dtype ..."""

    def run(self, inputs: StepInputs) -> list[int]:
        """The sampled tokens of the rows that sample, in batch order; they are on the host when this returns."""

    def launch(self, inputs: StepInputs) -> Callable[[], list[int]]:
        """The step is executed after those launched before it, beside the caller. What is returned waits for its end,
        and gives what run() does. At most two steps are launched and not waited for.
        """

    def warm_up(self, max_tokens: int, max_samples: int) -> None:
        """Have prepared what the first step of each size would prepare, beyond what running steps does."""

    def probe(self) -> None:
        """A fixed piece of work like a small decode step, without attention; done when this returns."""
