"""Presets: the rules of known engines. With a policy, a preset makes a scheduler (engine.py)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serving.schedule.batchers.base import Batcher
from serving.schedule.batchers.mixed import Mixed
from serving.schedule.batchers.prefill_first import PrefillFirst
from serving.schedule.batchers.request_level import RequestLevel
from serving.schedule.batchers.stall_free import StallFree
from serving.schedule.config import EngineConfig
from serving.state.eviction.base import Eviction
from serving.state.eviction.reuse_order import FreeQueue, Lru
from serving.state.prefix_index import NewestBlock, OldestBlock, PrefixIndex
from serving.state.reservation.base import Reservation
from serving.state.reservation.full_prompt import FullPrompt
from serving.state.reservation.max_length import MaxLength
from serving.state.reservation.on_demand import OnDemand


@dataclass(frozen=True)
class Preset:
    """An engine's own rules.

    index, eviction, reservation: its prefix index, free order and admission rule, where nothing else is chosen.
    settings: where its defaults differ from EngineConfig's. without_effect: settings it does not have.
    has_budget: whether a step is limited in tokens, not just in sequences.
    """

    title: str
    batcher: Callable[[], Batcher]
    index: Callable[[], PrefixIndex]
    eviction: Callable[[], Eviction]
    reservation: Callable[[EngineConfig], Reservation]
    settings: Mapping[str, object] = field(default_factory=dict)
    without_effect: tuple[str, ...] = ()
    has_budget: bool = True


def _vllm_admission(config: EngineConfig) -> Reservation:
    return OnDemand(config.watermark, config.scheduler_reserve_full_isl)


_WHOLE_PROMPTS = {"enable_prefix_caching": False, "enable_chunked_prefill": False}
_HAS_NO_BUDGET = (
    "max_num_batched_tokens",
    "enable_chunked_prefill",
    "long_prefill_token_threshold",
    "watermark",
    "scheduler_reserve_full_isl",
    "async_scheduling",
)

PRESETS: Mapping[str, Preset] = {
    "vllm": Preset(
        "vLLM V1 (0.32.0): mixed chunked-prefill batches, running requests first",
        Mixed,
        OldestBlock,
        Lru,
        _vllm_admission,
    ),
    "nano-vllm": Preset(
        "nano-vLLM (bb823b3): prefill first, decodes wait",
        PrefillFirst,
        NewestBlock,
        FreeQueue,
        lambda config: Reservation(),
        without_effect=(
            "enable_chunked_prefill",
            "long_prefill_token_threshold",
            "watermark",
            "scheduler_reserve_full_isl",
            "async_scheduling",
        ),
    ),
    "sarathi": Preset(
        "Sarathi-Serve: stall-free batching, decodes first, prompts share the rest of the budget",
        StallFree,
        OldestBlock,
        Lru,
        lambda config: FullPrompt(hold_it=True),
        settings={"enable_prefix_caching": False, "max_num_batched_tokens": 512},
        without_effect=("enable_chunked_prefill", "watermark", "scheduler_reserve_full_isl", "async_scheduling"),
    ),
    "orca": Preset(
        "Orca: iteration-level batches of whole prompts and decodes, KV for the longest output reserved",
        Mixed,
        OldestBlock,
        Lru,
        lambda config: MaxLength(),
        settings=_WHOLE_PROMPTS,
        without_effect=_HAS_NO_BUDGET,
        has_budget=False,
    ),
    "static": Preset(
        "Request-level batching: the next batch begins when the last request of this one has ended",
        RequestLevel,
        OldestBlock,
        Lru,
        lambda config: MaxLength(),
        settings=_WHOLE_PROMPTS,
        without_effect=_HAS_NO_BUDGET,
        has_budget=False,
    ),
}
