"""A preset is a batcher and the settings it obeys; with a policy it makes a scheduler like a real engine's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

from serving.cost import CostModel
from serving.errors import ConfigError
from serving.names import known
from serving.schedule.admission.base import AdmissionControl
from serving.schedule.batchers.base import Batcher
from serving.schedule.batchers.mixed import Mixed
from serving.schedule.batchers.prefill_first import PrefillFirst
from serving.schedule.config import EngineConfig
from serving.schedule.policies.base import Policy
from serving.schedule.policies.registry import POLICIES
from serving.schedule.scheduler import Parts, Scheduler
from serving.state.eviction.base import Eviction
from serving.state.eviction.reuse_order import FreeQueue, Lru
from serving.state.host_tier import HostTier
from serving.state.pool import BlockPool
from serving.state.prefix_index import NewestBlock, OldestBlock, PrefixIndex
from serving.state.reservation.base import Reservation
from serving.state.reservation.on_demand import OnDemand


@dataclass(frozen=True)
class Preset:
    """An engine's own rules.

    index, eviction, reservation: its prefix index, free order and admission rule, where nothing else is chosen.
    settings: where its defaults differ from EngineConfig's. without_effect: settings it does not have.
    """

    title: str
    batcher: Callable[[], Batcher]
    index: Callable[[], PrefixIndex]
    eviction: Callable[[], Eviction]
    reservation: Callable[[EngineConfig], Reservation]
    settings: Mapping[str, object] = field(default_factory=dict)
    without_effect: tuple[str, ...] = ()


def _vllm_admission(config: EngineConfig) -> Reservation:
    return OnDemand(config.watermark, config.scheduler_reserve_full_isl)


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
}


def build_scheduler(
    preset: str,
    policy: str | Policy = "fcfs",
    settings: Mapping[str, object] | None = None,
    *,
    reservation: Reservation | None = None,
    eviction: Eviction | None = None,
    admission: AdmissionControl | None = None,
    cost: CostModel | None = None,
    refuses_impossible: bool = True,
) -> Scheduler:
    """A fresh scheduler. settings: EngineConfig fields that differ from the preset's.

    Errors: ConfigError naming the unknown preset, policy or setting and the nearest known one, or what has no effect.
    """
    chosen = PRESETS[known("preset", preset, PRESETS)]
    config = _config(preset, settings or {})
    if isinstance(policy, str):
        policy = POLICIES[known("policy", policy, POLICIES)]()
    pool = BlockPool(
        config.num_blocks,
        config.block_size,
        chosen.index() if config.enable_prefix_caching else None,
        eviction or chosen.eviction(),
        HostTier(config.num_host_blocks) if config.num_host_blocks else None,
    )
    parts = Parts(
        batcher=chosen.batcher(),
        pool=pool,
        policy=policy,
        reservation=reservation or chosen.reservation(config),
        admission=admission or AdmissionControl(),
        cost=cost,
    )
    return Scheduler(config, parts, refuses_impossible)


def _config(preset: str, settings: Mapping[str, object]) -> EngineConfig:
    chosen = PRESETS[preset]
    defaults = {f.name: f.default for f in fields(EngineConfig)}
    for name, value in settings.items():
        known("setting", name, defaults)
        if name in chosen.without_effect and value != chosen.settings.get(name, defaults[name]):
            raise ConfigError(f"{name} has no effect under preset {preset}; leave it out")
    return EngineConfig(**{**chosen.settings, **settings})  # type: ignore[arg-type]
