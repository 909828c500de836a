"""nano-vLLM's benchmark workload: 256 requests at once, prompts and outputs of 100 to 1,024 random tokens.

Source: bench.py of GeeeekExplorer/nano-vllm, which reports output tokens per second for Qwen3-0.6B.
"""

import time
from dataclasses import dataclass
from random import Random

from realexec.llm import LLM, SamplingParams

REQUESTS = 256
LEAST, MOST = 100, 1024


@dataclass(frozen=True, slots=True)
class Throughput:
    output_tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        return self.output_tokens / self.seconds


def offline_throughput(llm: LLM, requests: int = REQUESTS, seed: int = 0) -> Throughput:
    """The engine is warm: it has served a prompt before the clock starts, as in the source."""
    rng = Random(seed)
    prompts = [[rng.randint(3, 10000) for _ in range(rng.randint(LEAST, MOST))] for _ in range(requests)]
    params = [SamplingParams(temperature=0.6, ignore_eos=True, max_tokens=rng.randint(LEAST, MOST)) for _ in prompts]
    llm.generate([prompts[0][:8]], SamplingParams(max_tokens=2), use_tqdm=False)
    began = time.perf_counter()
    llm.generate(prompts, params, use_tqdm=False)
    return Throughput(sum(p.max_tokens for p in params), time.perf_counter() - began)
