"""Prompts in, text out, without a server: the interface of nano-vLLM (github.com/GeeeekExplorer/nano-vllm).

LLM.step() is one turn of the loop of engine.py, in the caller's thread, and the model's own tokens end an output.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import ge, index
from typing import TypedDict

from realexec.compute import Compute
from realexec.loaded import load_model
from realexec.progress import GenerationProgress
from realexec.requires import blocked
from realexec.shapes import ModelShape
from serving.errors import ConfigError, RequestError
from serving.request import Request
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Idle, Plan
from serving.schedule.engine import build_scheduler

try:
    from realexec.build import build_runner
    from realexec.runner import Runner
    from realexec.sampling import Sampling
except ImportError as error:
    raise blocked(error) from error

DEFAULTS = EngineConfig()
OF_ENGINE_CONFIG = {"kvcache_block_size": "block_size", "num_kvcache_blocks": "num_blocks"}


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """What one request asks for; the first three are nano-vLLM's. Errors: ConfigError naming the field.

    temperature     0: greedy
    max_tokens      the most output tokens
    ignore_eos      do not end at the model's end-of-sequence tokens
    top_k, top_p, min_tokens, seed: see realexec.sampling.Sampling
    stop_token_ids  these end the output too, and are its last token then
    """

    temperature: float = 1.0
    max_tokens: int = 64
    ignore_eos: bool = False
    top_k: int = 0
    top_p: float = 1.0
    min_tokens: int = 0
    seed: int | None = None
    stop_token_ids: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if self.min_tokens > self.max_tokens:
            raise ConfigError(f"min_tokens is {self.min_tokens}, but max_tokens {self.max_tokens}")
        self.sampling(())

    def sampling(self, eos_token_ids: Sequence[int]) -> Sampling:
        """eos_token_ids: of the model."""
        ends = (*self.stop_token_ids, *(() if self.ignore_eos else eos_token_ids))
        return Sampling(
            self.temperature, self.top_k, self.top_p, self.seed, self.min_tokens, tuple(dict.fromkeys(ends))
        )


class Output(TypedDict):
    """token_ids: all that were generated, with the one that ended it; control tokens have no text."""

    text: str
    token_ids: list[int]


class LLM:
    """A model, a scheduler and a runner, used by one thread.

    model: a named shape (15m, 110m, 600m: random weights, a token for each byte), a model that `servetwin model get`
        got, or a Hugging Face folder.
    enforce_eager: no CUDA graphs for decode steps; on a CPU there is nothing to capture, and both mean the same.
    tensor_parallel_size: 1.
    max_num_batched_tokens, max_num_seqs, kvcache_block_size: None: as in EngineConfig.
    max_model_len: tokens of prompt and output; None: as in EngineConfig, or all positions of the model if it has fewer.
    num_kvcache_blocks: None: what memory holds, see realexec.compute.Compute. It replaces gpu_memory_utilization.
    preset, policy: what is scheduled when, by name.
    async_scheduling: schedule and prepare the next step while one executes, under a preset that can (vllm).
    seed: of the noise of requests that have no seed, and of the weights of a named shape.
    num_threads: compute threads on the host, for the whole process. device: cpu or cuda. dtype: see Compute.

    Errors: ConfigError; TypeError for an argument that is not here.
    """

    def __init__(
        self,
        model: str,
        *,
        enforce_eager: bool = False,
        tensor_parallel_size: int = 1,
        max_num_batched_tokens: int | None = None,
        max_num_seqs: int | None = None,
        max_model_len: int | None = None,
        kvcache_block_size: int | None = None,
        num_kvcache_blocks: int | None = None,
        preset: str = "nano-vllm",
        policy: str = "fcfs",
        async_scheduling: bool = False,
        seed: int = 0,
        num_threads: int = 1,
        device: str = "cpu",
        dtype: str = "auto",
    ) -> None:
        if tensor_parallel_size != 1:
            raise ConfigError(
                f"tensor_parallel_size is {tensor_parallel_size}; this engine has one device, leave it out"
            )
        loaded = load_model(model, seed)
        given = {
            "max_num_batched_tokens": max_num_batched_tokens,
            "max_num_seqs": max_num_seqs,
            "max_model_len": max_model_len,
            "kvcache_block_size": kvcache_block_size,
            "num_kvcache_blocks": num_kvcache_blocks,
        }
        settings: dict[str, int] = {
            **_settings(loaded.shape, {name: value for name, value in given.items() if value is not None}),
            **({"async_scheduling": True} if async_scheduling else {}),
        }
        self._runner: Runner | None = build_runner(
            loaded,
            Compute(device, dtype, num_threads, cuda_graphs=not enforce_eager),
            EngineConfig(**settings),  # type: ignore[arg-type]
            settings.get("num_blocks"),
            Sampling(seed=seed),
        )
        settings["num_blocks"] = self._runner.num_blocks
        self.tokenizer = loaded.tokenizer
        self._vocab_size = loaded.shape.vocab_size
        self._new_scheduler = partial(build_scheduler, preset, policy, settings)
        self._scheduler = self._new_scheduler()
        self._in_flight: deque[tuple[Plan, Callable[[], list[int | None]]]] = deque()
        self._outputs: dict[str, list[int]] = {}
        self._num_requests = 0

    def generate(
        self,
        prompts: Sequence[str | Sequence[int]],
        sampling_params: SamplingParams | Sequence[SamplingParams],
        use_tqdm: bool = True,
    ) -> list[Output]:
        """Serve all prompts, texts or token ids, to their ends; the outputs have the order of the prompts.

        A control token that a text spells is one, as in the output of a chat template. Of texts by others make ids with
        tokenizer.encode(), of conversations with tokenizer.encode_chat().
        sampling_params: one for all, or one for each. use_tqdm: show a bar on stderr.
        Errors: ConfigError; RequestError naming the prompt that can never be served, before any is. After these, and
        after an interrupt (Ctrl-C), no request is left, and the LLM can be used again.
        """
        if isinstance(prompts, str):
            raise ConfigError("prompts is one text; give a list, [prompt]")
        each = [sampling_params] * len(prompts) if isinstance(sampling_params, SamplingParams) else sampling_params
        if len(each) != len(prompts):
            raise ConfigError(
                f"{len(prompts)} prompts, but {len(each)} sampling_params; give one, or one for each prompt"
            )
        if not self.is_finished():
            raise ConfigError(
                "requests of add_request() are unfinished; call step() until is_finished(), then generate()"
            )
        finished: dict[int, list[int]] = {}
        try:
            ids = [self._add_prompt(i, prompt, each[i]) for i, prompt in enumerate(prompts)]
            with GenerationProgress(len(prompts), shown=use_tqdm) as progress:
                while not self.is_finished():
                    began = time.perf_counter()
                    ended, num_tokens = self.step()
                    progress.stepped(len(ended), num_tokens, time.perf_counter() - began)
                    finished.update(ended)
        except BaseException:
            self._start_afresh()
            raise
        return [Output(text=self.tokenizer.decode(finished[i]), token_ids=finished[i]) for i in ids]

    def add_request(self, prompt: str | Sequence[int], sampling_params: SamplingParams) -> int:
        """The number by which step() will call it. Errors: RequestError for one that can never be served."""
        runner = self._running()
        token_ids = self.tokenizer.encode_trusted(prompt) if isinstance(prompt, str) else self._checked(prompt)
        number = self._num_requests
        request_id = str(number)
        sampling = sampling_params.sampling(self.tokenizer.eos_token_ids)
        now = time.perf_counter_ns()
        request = Request(request_id, now, tuple(token_ids), sampling_params.max_tokens, sampling.stop_token_ids)
        runner.sample_with(request_id, sampling)
        try:
            self._scheduler.add(request, now)
        except RequestError:
            runner.forget([request_id])
            raise
        self._outputs[request_id] = []
        self._num_requests += 1
        return number

    def step(self) -> tuple[list[tuple[int, list[int]]], int]:
        """The requests that ended with a step, with their output tokens; and how many tokens it computed.

        With async scheduling it is the oldest step in flight, and the next one is launched before. The number is
        negative where all requests of the step decoded, a token each; 0 where nothing ran.
        """
        runner, scheduler, in_flight = self._running(), self._scheduler, self._in_flight
        while len(in_flight) < scheduler.max_in_flight:
            now = time.perf_counter_ns()
            plan = scheduler.schedule(now)
            if isinstance(plan, Idle):
                if in_flight:
                    break
                if plan.wake_at is not None:
                    time.sleep(max(0, plan.wake_at - now) / 1e9)
                return [], 0
            inputs = runner.prepare(plan)
            wait = runner.launch(inputs) if scheduler.max_in_flight > 1 else partial(runner.execute, inputs)
            in_flight.append((plan, wait))
        plan, wait = in_flight.popleft()
        sampled: list[tuple[int, ...]] = [() if token is None else (token,) for token in wait()]
        outcome = scheduler.complete(plan.step_id, sampled, time.perf_counter_ns())
        tokens = [new[:accepted] for new, accepted in zip(sampled, outcome.num_accepted, strict=True)]
        runner.accept(plan, tokens)
        for request_id, new in zip(plan.request_ids, tokens, strict=True):
            if new:
                self._outputs[request_id].extend(new)
        return [(int(i), self._outputs.pop(i)) for i in outcome.finished], _num_tokens(plan)

    def is_finished(self) -> bool:
        return not self._scheduler.has_work and not self._in_flight

    def exit(self) -> None:
        """Give up all requests, and the memory of model and KV cache."""
        self._forget_all()
        self._runner = None

    def _add_prompt(self, number: int, prompt: str | Sequence[int], sampling_params: SamplingParams) -> int:
        try:
            return self.add_request(prompt, sampling_params)
        except RequestError as error:
            raise RequestError(f"prompt {number}: {error}") from error

    def _checked(self, prompt: Sequence[int]) -> list[int]:
        """Errors: RequestError, before a step that has it would fail with all its others."""
        try:
            token_ids = [index(token_id) for token_id in prompt]
        except TypeError as error:
            raise RequestError(f"a prompt is a text or a list of token ids: {error}") from error
        for token_id in token_ids:
            if not 0 <= token_id < self._vocab_size:
                raise RequestError(f"token {token_id} is unknown to the model, which has 0 .. {self._vocab_size - 1}")
        return token_ids

    def _start_afresh(self) -> None:
        """Whatever a step had begun: a new scheduler, and a runner that knows nobody."""
        self._forget_all()
        self._running().reset()

    def _forget_all(self) -> None:
        while self._in_flight:
            _, wait = self._in_flight.popleft()
            with suppress(Exception):  # whatever becomes of it: nobody asks any more
                wait()
        self._scheduler = self._new_scheduler()
        self._outputs.clear()

    def _running(self) -> Runner:
        if self._runner is None:
            raise ConfigError("this LLM was told to exit(); make a new one")
        return self._runner


def _settings(shape: ModelShape, given: Mapping[str, int]) -> dict[str, int]:
    """Fields of EngineConfig, from arguments of LLM."""
    for name, value in given.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")
    settings = {OF_ENGINE_CONFIG.get(name, name): value for name, value in given.items()}
    longest = settings.setdefault("max_model_len", min(DEFAULTS.max_model_len, shape.max_position))
    if longest > shape.max_position:
        raise ConfigError(f"max_model_len is {longest}, but model {shape.name} has {shape.max_position} positions")
    return settings


def _num_tokens(plan: Plan) -> int:
    decodes = plan.num_tokens == (1,) * len(plan.num_tokens) and all(map(ge, plan.starts, plan.prompt_lens))
    return -len(plan.request_ids) if decodes else sum(plan.num_tokens)
