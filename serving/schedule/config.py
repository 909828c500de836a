"""Engine settings that a scheduler obeys."""

from dataclasses import dataclass

from serving.errors import ConfigError
from serving.names import known


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Names and meanings follow vLLM's SchedulerConfig and CacheConfig (0.32.0).

    max_num_seqs                    sequences running at once
    max_num_batched_tokens          tokens computed in one step (the token budget)
    max_model_len                   prompt + output tokens of one request
    block_size                      tokens a KV block
    num_blocks                      KV blocks in the pool
    num_host_blocks                 KV blocks in host memory: for swapped requests and evicted prefixes; 0: none
    preemption                      "recompute": a preempted request's KV is given up; "swap": kept on the host
    enable_prefix_caching           keep and reuse full blocks of equal content
    enable_chunked_prefill          split a prompt that exceeds the budget
    long_prefill_token_threshold    most prompt tokens of one request in a step; 0: no such limit
    watermark                       share of the pool left free on admission while others run
    scheduler_reserve_full_isl      admit only if the whole prompt fits, not just its first chunk
    async_scheduling                schedule the next step while one is in flight
    """

    max_num_seqs: int = 128
    max_num_batched_tokens: int = 2048
    max_model_len: int = 4096
    block_size: int = 16
    num_blocks: int = 4096
    num_host_blocks: int = 0
    preemption: str = "recompute"
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    watermark: float = 0.0
    scheduler_reserve_full_isl: bool = True
    async_scheduling: bool = False

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "num_blocks"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        for name in ("num_host_blocks", "long_prefill_token_threshold"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; use 0 for none")
        if not self.enable_chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise ConfigError(
                f"without chunked prefill a step must hold a whole prompt: max_num_batched_tokens "
                f"({self.max_num_batched_tokens}) is below max_model_len ({self.max_model_len})"
            )
        known("preemption", self.preemption, ("recompute", "swap"))
        if self.preemption == "swap" and not self.num_host_blocks:
            raise ConfigError("preemption by swap needs host memory: give num_host_blocks")
        if self.num_host_blocks and self.preemption == "recompute" and not self.enable_prefix_caching:
            raise ConfigError("num_host_blocks has no effect: nothing is swapped, and no prefix is cached")
