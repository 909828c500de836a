"""What can be served: the real engine's runner, or one that is paced by a profile, and what each brings with it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realexec.engine import ExecutedStep, PlanRunner
from realexec.paced import PLACEHOLDER_TEXT, PacedRunner
from realexec.requires import blocked
from realexec.server.asked import Generation
from realexec.server.understood import SamplingOf
from realexec.text import Tokenizer
from serving.cost import CostModel

if TYPE_CHECKING:
    from realexec.loaded import LoadedModel
    from realexec.runner import Runner

DEFAULT_TEMPERATURE = 1.0
"""OpenAI's, for a request that states none."""


@dataclass(frozen=True)
class World:
    """clock: for the engine; now: the same clock, for everybody else. vocab_size: of the model.

    sampling_of: what the runner draws a request's tokens with. before_delivery: see Service.
    """

    runner: PlanRunner
    tokenizer: Tokenizer
    vocab_size: int
    clock: Callable[[], int]
    now: Callable[[], int]
    sampling_of: SamplingOf
    before_delivery: Callable[[ExecutedStep], None]


def simulated(cost: CostModel, tokenizer: Tokenizer, vocab_size: int) -> World:
    """Steps take what the cost model says; the text is always the same. How tokens would be drawn plays no part."""
    silent = {*tokenizer.eos_token_ids, *tokenizer.encode("")}  # ends, and the marks before a prompt
    text_ids = [i for i in tokenizer.encode(PLACEHOLDER_TEXT) if i not in silent]
    runner = PacedRunner(cost, text_ids)
    return World(
        runner, tokenizer, vocab_size, runner.clock, runner.now, lambda asked, ends: None, runner.await_delivery
    )


def real(model: "LoadedModel", runner: "Runner") -> World:
    """runner: warm. Errors: BlockedError without torch."""
    try:
        from realexec.sampling import Sampling
    except ImportError as error:
        raise blocked(error) from error

    def sampling_of(asked: Generation, stop_token_ids: tuple[int, ...]) -> Any:
        return Sampling(
            temperature=DEFAULT_TEMPERATURE if asked.temperature is None else asked.temperature,
            top_k=max(0, asked.top_k or 0),
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=asked.seed,
            min_tokens=asked.min_tokens or 0,
            stop_token_ids=stop_token_ids,
        )

    start = time.perf_counter_ns()

    def clock() -> int:
        return time.perf_counter_ns() - start

    return World(runner, model.tokenizer, model.shape.vocab_size, clock, clock, sampling_of, lambda step: None)
