"""`servetwin serve` as a process, as real clients meet it, and what can be seen of it from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from records.cost_terms import CostTerms, Term
from records.profile import KVCapacity, Profile, write_profile

TOKENIZER = Path("realexec/tokenizer")
"""A Hugging Face folder: that of the models with random weights."""
MODEL = "15m"
ENGINES = ("real", "sim")


@dataclass(frozen=True)
class Server:
    url: str
    pid: int

    def greedy(self, prompt: str = "a normal request", max_tokens: int = 24) -> str:
        """The text of an answer that is the same at all times."""
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}
        answer = httpx.post(f"{self.url}/v1/completions", json=body, timeout=60).raise_for_status().json()
        assert answer["usage"]["completion_tokens"] == max_tokens
        return answer["choices"][0]["text"]

    def metric(self, name: str, label: str = "") -> float:
        """Of vLLM's name, summed over what has the label."""
        lines = httpx.get(f"{self.url}/metrics", timeout=20).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"vllm:{name}{{") and label in line)

    @property
    def is_idle(self) -> bool:
        """No request, and every block free."""
        return not any(map(self.metric, ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")))

    def is_idle_within(self, seconds: float) -> bool:
        return within(seconds, lambda: self.is_idle)

    @property
    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def serving(engine: str, folder: Path, *options: str, model: str = MODEL, step_ms: float = 2.0) -> Iterator[Server]:
    """It must end well on SIGTERM, and say nothing once it serves.

    engine: of ENGINES. folder: for its profile and its standard error. step_ms: of the paced engine; 10 us a token
    come on top.
    """
    said = folder / "server.txt"
    arguments = ["--engine", engine, "--model", model, "--port", "0", *options]
    if engine == "sim":
        arguments += ["--profile", str(_profile(folder / "profile.json", step_ms))]
    command = [Path(sys.executable).with_name("servetwin"), "serve", *arguments]
    with said.open("wb") as err, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert " at http://" in line, said.read_text()
            beginning = said.read_text()
            yield Server(line.split()[3], process.pid)
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert said.read_text() == beginning, said.read_text()[:2000]


def _profile(path: Path, step_ms: float) -> Path:
    def cost(*terms: Term) -> CostTerms:
        return CostTerms(terms=terms)

    step = Term(name="step", feature="one", coefficient_ms=step_ms, meaning="a step")
    token = Term(name="token", feature="num_tokens", coefficient_ms=0.01, meaning="a token")
    profile = Profile(
        name="flat",
        model={"name": MODEL, "vocab_size": 32000, "max_position": 2048},
        hardware={},
        software={},
        conditions={},
        execute=cost(step, token),
        schedule=cost(),
        complete=cost(),
        return_=cost(),
        residual={},
        hull={},
        kv=KVCapacity(num_blocks=1024, block_size=16, bytes_per_token=100),
    )
    write_profile(path, profile)
    return path
