"""Which engine decides: a preset, the parts that differ from it, and its settings; and how it is put together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from serving.cost import CostModel
from serving.errors import ConfigError
from serving.names import known
from serving.schedule.admission.base import AdmissionControl
from serving.schedule.admission.registry import ADMISSIONS
from serving.schedule.config import EngineConfig
from serving.schedule.counting import CountingScheduler
from serving.schedule.policies.base import Policy
from serving.schedule.policies.registry import POLICIES
from serving.schedule.presets import PRESETS
from serving.schedule.scheduler import Parts, Scheduler
from serving.schedule.spec import make, part
from serving.schedule.steady import TokensOf
from serving.state.eviction.base import Eviction
from serving.state.eviction.registry import EVICTIONS
from serving.state.eviction.reuse_order import Lru
from serving.state.host_tier import HostTier
from serving.state.pool import BlockPool
from serving.state.reservation.base import Reservation
from serving.state.reservation.registry import RESERVATIONS
from serving.state.uncached_pool import UncachedPool

ADMITS_BY = ("watermark", "scheduler_reserve_full_isl")
"""Settings that the vllm preset's own reservation obeys, and no other."""


@dataclass(frozen=True)
class EngineSpec:
    """policy, reservation, eviction, admission: written as spec.py says; "": the preset's own, and no
        admission control.

    settings: EngineConfig fields that differ from the preset's.
    """

    preset: str = "vllm"
    policy: str = "fcfs"
    reservation: str = ""
    eviction: str = ""
    admission: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)


def build(
    spec: EngineSpec,
    *,
    cost: CostModel | None = None,
    load: Callable[[str], type | None] = lambda name: None,
    refuses_impossible: bool = True,
    tokens_of: TokensOf | None = None,
) -> Scheduler:
    """A fresh scheduler. cost: what a policy may predict step times with. load: finds a class that has no name here.
    tokens_of: given by a world that takes plans which count decodes (counting.py); it gets them where that is possible.

    Errors: ConfigError naming what is unknown, contradicts, or has no effect, and the nearest that is known.
    """

    known("preset", spec.preset, PRESETS)
    reservation, eviction, admission = spec.reservation, spec.eviction, spec.admission
    return build_scheduler(
        spec.preset,
        part("policy", spec.policy, POLICIES, load, Policy),
        spec.settings,
        reservation=part("reservation", reservation, RESERVATIONS, load, Reservation) if reservation else None,
        eviction=part("eviction", eviction, EVICTIONS, load) if eviction else None,
        admission=part("admission", admission, ADMISSIONS, load, AdmissionControl) if admission else None,
        cost=cost,
        refuses_impossible=refuses_impossible,
        tokens_of=tokens_of,
    )


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
    tokens_of: TokensOf | None = None,
) -> Scheduler:
    """As build(), from parts that are there. What is not given is the preset's own."""
    chosen = PRESETS[known("preset", preset, PRESETS)]
    config = _config(preset, settings or {}, reservation)
    caches = config.enable_prefix_caching
    if eviction is not None and not caches:
        raise ConfigError("an eviction order has no effect without prefix caching; leave it out")
    host = HostTier(config.num_host_blocks) if config.num_host_blocks else None
    pool: BlockPool
    if caches:
        order = chosen.eviction() if eviction is None else eviction
        pool = BlockPool(config.num_blocks, config.block_size, chosen.index(), order, host)
    else:
        pool = UncachedPool(config.num_blocks, config.block_size, chosen.eviction is Lru, host)
    parts = Parts(
        batcher=chosen.batcher(),
        pool=pool,
        policy=make("policy", policy, POLICIES) if isinstance(policy, str) else policy,
        reservation=reservation or chosen.reservation(config),
        admission=admission or AdmissionControl(),
        cost=cost,
    )
    if tokens_of is not None and CountingScheduler.suits(config, parts):
        return CountingScheduler(config, parts, refuses_impossible, tokens_of)
    return Scheduler(config, parts, refuses_impossible)


def _config(preset: str, settings: Mapping[str, object], reservation: Reservation | None) -> EngineConfig:
    chosen = PRESETS[preset]
    defaults: dict[str, Any] = {f.name: f.default for f in fields(EngineConfig)} | dict(chosen.settings)
    for name in settings:
        known("setting", name, defaults)
    if not chosen.has_budget:
        seats, longest = ({**defaults, **settings}[name] for name in ("max_num_seqs", "max_model_len"))
        defaults["max_num_batched_tokens"] = int(seats) * int(longest)
    for name, value in settings.items():
        if name in chosen.without_effect and value != defaults[name]:
            raise ConfigError(f"{name} has no effect under preset {preset}; leave it out")
        if reservation is not None and name in ADMITS_BY and value != defaults[name]:
            raise ConfigError(f"{name} has no effect beside another reservation; leave one of them out")
    return EngineConfig(**{**defaults, **settings})
