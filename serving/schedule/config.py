"""Engine settings that a scheduler obeys."""

from dataclasses import dataclass

from serving.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Names and meanings follow vLLM's SchedulerConfig and CacheConfig (0.32.0).

    max_num_seqs                    sequences running at once
    max_num_batched_tokens          tokens computed in one step (the token budget)
    max_model_len                   prompt + output tokens of one request
    block_size                      tokens a KV block
    num_blocks                      KV blocks in the pool
    enable_prefix_caching           keep and reuse full blocks of equal content
    enable_chunked_prefill          split a prompt that exceeds the budget (vllm preset)
    long_prefill_token_threshold    most prompt tokens of one request in a step; 0: no such limit (vllm preset)
    watermark                       share of the pool left free on admission while others run (vllm preset)
    scheduler_reserve_full_isl      admit only if the whole prompt fits, not just its first chunk (vllm preset)
    """

    max_num_seqs: int = 128
    max_num_batched_tokens: int = 2048
    max_model_len: int = 4096
    block_size: int = 16
    num_blocks: int = 4096
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    watermark: float = 0.0
    scheduler_reserve_full_isl: bool = True

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "num_blocks"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        if self.long_prefill_token_threshold < 0:
            raise ConfigError(
                f"long_prefill_token_threshold is {self.long_prefill_token_threshold}; use 0 for no limit"
            )
        if not 0.0 <= self.watermark < 1.0:
            raise ConfigError(f"watermark is {self.watermark}; it is a share of the pool, from 0 up to below 1")
        if not self.enable_chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise ConfigError(
                f"without chunked prefill a step must hold a whole prompt: max_num_batched_tokens "
                f"({self.max_num_batched_tokens}) is below max_model_len ({self.max_model_len})"
            )
