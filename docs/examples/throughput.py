"""Output tokens a second, offline: `python docs/examples/throughput.py [model]`.

64 requests, prompts of 32 to 256 random tokens, outputs of 32 to 128; all are there at once.
"""

import sys
import time
from random import Random

from realexec.llm import LLM, SamplingParams


def main(model: str = "15m", num_requests: int = 64) -> None:
    llm, rng = LLM(model), Random(0)
    prompts = [[rng.randint(3, 10_000) for _ in range(rng.randint(32, 256))] for _ in range(num_requests)]
    params = [SamplingParams(0.6, rng.randint(32, 128), ignore_eos=True) for _ in prompts]
    llm.generate(prompts[:8], SamplingParams(max_tokens=4), use_tqdm=False)  # what is compiled at first use is now
    began = time.perf_counter()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    seconds = time.perf_counter() - began
    generated = sum(len(output["token_ids"]) for output in outputs)
    print(f"{model}: {generated} output tokens in {seconds:.2f} s, {generated / seconds:.1f} tokens/s")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "15m")
