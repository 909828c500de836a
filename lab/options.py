"""Options that several verbs share."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lab.as_measured import as_measured
from realexec.compute import Compute
from serving.errors import ConfigError
from serving.schedule.engine import EngineSpec

PARTS = ("preset", "policy", "reservation", "eviction", "admission")


@Parameter(name="*")
@dataclass(frozen=True)
class EngineOptions:
    """Which scheduler decides, and the settings it obeys; what is not given keeps the preset's default.

    A simulation takes what is not given from its profile first, where that says what was measured (as_measured.py).
    """

    preset: Annotated[
        str | None,
        Parameter(
            help="Batching rules: vllm, nano-vllm, sarathi, orca, static. Default: a simulation's profile's, vllm."
        ),
    ] = None
    policy: Annotated[
        str,
        Parameter(
            help="Order, victims and chunks: a name, 'name(option=value)', or 'my_policy.py:MyPolicy'. "
            "servetwin parts lists them."
        ),
    ] = "fcfs"
    reservation: Annotated[str, Parameter(help="KV a request needs to come in. Default: the preset's.")] = ""
    eviction: Annotated[str, Parameter(help="Which cached KV block is reused next. Default: the preset's.")] = ""
    admission: Annotated[str, Parameter(help="Who is turned away on arrival. Default: nobody.")] = ""
    predictor: Annotated[
        str, Parameter(help="Who predicts output lengths: oracle (simulations only), noisy(error=0.3), max-tokens.")
    ] = ""
    max_num_seqs: Annotated[int | None, Parameter(help="Sequences running at once. Default 128.")] = None
    max_num_batched_tokens: Annotated[int | None, Parameter(help="Token budget of a step. Default 2048 tokens.")] = None
    max_model_len: Annotated[int | None, Parameter(help="Prompt and output of one request. Default 4096 tokens.")] = (
        None
    )
    block_size: Annotated[int | None, Parameter(help="Tokens a KV block. Default 16.")] = None
    num_blocks: Annotated[
        int | None, Parameter(help="KV blocks in the pool. Default: as many as the model's KV budget holds.")
    ] = None
    enable_prefix_caching: Annotated[bool | None, Parameter(help="Reuse KV blocks of equal prefixes. Default on.")] = (
        None
    )
    enable_chunked_prefill: Annotated[bool | None, Parameter(help="Split prompts over steps (vllm). Default on.")] = (
        None
    )
    long_prefill_token_threshold: Annotated[
        int | None, Parameter(help="Most prompt tokens of one request in a step (vllm). Default 0: no limit.")
    ] = None
    num_host_blocks: Annotated[
        int | None, Parameter(help="KV blocks in host memory, for swap and for evicted prefixes. Default 0.")
    ] = None
    preemption: Annotated[
        str | None, Parameter(help="What becomes of a preempted request's KV: recompute (default) or swap.")
    ] = None
    async_scheduling: Annotated[
        bool | None, Parameter(help="Schedule a step while one is in flight (vllm). Default off.")
    ] = None
    watermark: Annotated[
        float | None, Parameter(help="Share of the pool kept free on admission (vllm). Default 0.")
    ] = None
    scheduler_reserve_full_isl: Annotated[
        bool | None, Parameter(help="Admit only if the whole prompt fits (vllm). Default on.")
    ] = None

    def settings(self) -> dict[str, object]:
        """The settings that were given."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*PARTS, "predictor")}
        return {name: value for name, value in given.items() if value is not None}

    def spec(self) -> EngineSpec:
        """As an engine on hardware is built."""
        return as_measured(self.given(), None)

    def given(self) -> EngineSpec:
        """Only what was given: preset "" where none was."""
        parts = {name: getattr(self, name) or "" for name in PARTS}
        return EngineSpec(**parts, settings=self.settings())


@Parameter(name="*")
@dataclass(frozen=True)
class ComputeOptions:
    """Where the real engine computes, and how; what is not given keeps the device's default."""

    device: Annotated[
        Literal["cpu", "cuda"] | None, Parameter(help="cpu (default), or cuda: the first CUDA device.")
    ] = None
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"] | None,
        Parameter(help="Of weights and KV. auto (default): bfloat16 where the hardware multiplies it, else float32."),
    ] = None
    threads: Annotated[
        int | None,
        Parameter(help="Compute threads of the CPU. More than 1 (default) is faster only while nothing else runs."),
    ] = None
    enforce_eager: Annotated[bool | None, Parameter(help="No CUDA graphs (cuda).", negative=())] = None
    kv_memory: Annotated[
        float | None,
        Parameter(
            help="GiB for KV blocks. Default on a CPU: 1, and at most 4,096 blocks; on a GPU: what a warm-up leaves of "
            "90 %."
        ),
    ] = None

    def given(self) -> list[str]:
        """Names of the options that were given."""
        return [f"--{f.name.replace('_', '-')}" for f in fields(self) if getattr(self, f.name) is not None]

    def compute(self) -> Compute:
        """Errors: ConfigError for an option without effect."""
        device = self.device or "cpu"
        if device == "cpu" and self.enforce_eager:
            raise ConfigError("--enforce-eager has no effect on the CPU, where nothing is captured; leave it out")
        if device == "cuda" and self.threads is not None:
            raise ConfigError("--threads has no effect on a GPU; leave it out")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads is {self.threads}; it must be at least 1")
        if self.kv_memory is not None and not self.kv_memory > 0:
            raise ConfigError(f"--kv-memory is {self.kv_memory:g}; it must be above 0")
        return Compute(device, self.dtype or "auto", self.threads or 1, not self.enforce_eager, self.kv_memory)


Json = Annotated[bool, Parameter(help="Print the result as one JSON object.", negative=())]
Force = Annotated[bool, Parameter(help="Replace a run record that is already there.", negative=())]
MaxInFlight = Annotated[
    int | None,
    Parameter(help="Most requests sent and not ended, over all clients; others wait at the client. Default: no limit."),
]
ProfileToPredict = Annotated[
    Path | None,
    Parameter(help="Profile, a file or a shipped name, where a policy predicts step times with it."),
]
Model = Annotated[
    str,
    Parameter(
        help="15m, 110m or 600m (random weights), a model that servetwin model get got, or a Hugging Face folder."
    ),
]
Within = Annotated[
    float | None,
    Parameter(help="Exit 1 unless mean TTFT, TPOT and E2E are this close, in percent of the measured mean."),
]


def check_positive(**options: float | None) -> None:
    """Errors: ConfigError naming the first option that was given and is not above 0."""
    for name, value in options.items():
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} is {value}; it must be above 0")
