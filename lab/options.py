"""Options that several verbs share."""

from dataclasses import dataclass, fields
from typing import Annotated

from cyclopts import Parameter

from serving.errors import ConfigError
from serving.schedule.engine import EngineSpec

PARTS = ("preset", "policy", "reservation", "eviction", "admission")


@Parameter(name="*")
@dataclass(frozen=True)
class EngineOptions:
    """Which scheduler decides, and the settings it obeys; what is not given keeps the preset's default."""

    preset: Annotated[str, Parameter(help="Batching rules: vllm, nano-vllm, sarathi, orca, static.")] = "vllm"
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
        bool | None, Parameter(help="Schedule a step while one is in flight (vllm; not on hardware). Default off.")
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
        parts = {name: getattr(self, name) for name in PARTS}
        return EngineSpec(**parts, settings=self.settings())


Json = Annotated[bool, Parameter(help="Print the result as one JSON object.", negative=())]
Force = Annotated[bool, Parameter(help="Replace a run record that is already there.", negative=())]
MaxInFlight = Annotated[
    int | None,
    Parameter(help="Most requests sent and not ended, over all clients; others wait at the client. Default: no limit."),
]
Model = Annotated[str, Parameter(help="Model shape with random weights: 15m, 110m or 600m (parameters).")]
Threads = Annotated[int, Parameter(help="Compute threads. More than one is faster only while nothing else runs.")]
Within = Annotated[
    float | None,
    Parameter(help="Exit 1 unless mean TTFT, TPOT and E2E are this close, in percent of the measured mean."),
]


def check_positive(**options: float | None) -> None:
    """Errors: ConfigError naming the first option that was given and is not above 0."""
    for name, value in options.items():
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} is {value}; it must be above 0")
