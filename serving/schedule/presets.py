"""A preset is a batcher and the settings it obeys; with a policy it makes a scheduler like a real engine's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches

from serving.errors import ConfigError
from serving.schedule.batchers.base import Batcher
from serving.schedule.batchers.mixed import Mixed
from serving.schedule.batchers.prefill_first import PrefillFirst
from serving.schedule.config import EngineConfig
from serving.schedule.policies.base import Policy
from serving.schedule.policies.fcfs import Fcfs
from serving.schedule.policies.priority import Priority
from serving.schedule.scheduler import Scheduler


@dataclass(frozen=True)
class Preset:
    """policies: those its engine has. without_effect: settings it does not have; giving one is an error."""

    title: str
    batcher: Callable[[], Batcher]
    policies: tuple[str, ...]
    without_effect: tuple[str, ...] = ()


PRESETS: Mapping[str, Preset] = {
    "vllm": Preset(
        "vLLM V1 (0.32.0): mixed chunked-prefill batches, running requests first", Mixed, ("fcfs", "priority")
    ),
    "nano-vllm": Preset(
        "nano-vLLM (bb823b3): prefill first, decodes wait",
        PrefillFirst,
        ("fcfs",),
        ("enable_chunked_prefill", "long_prefill_token_threshold", "watermark", "scheduler_reserve_full_isl"),
    ),
}

POLICIES: Mapping[str, Callable[[], Policy]] = {"fcfs": Fcfs, "priority": Priority}


def build_scheduler(preset: str, policy: str = "fcfs", settings: Mapping[str, object] | None = None) -> Scheduler:
    """A fresh scheduler. settings: EngineConfig fields that differ from its defaults.

    Errors: ConfigError naming the unknown preset, policy or setting and the nearest known one.
    """
    chosen = PRESETS[_known("preset", preset, PRESETS)]
    make_policy = POLICIES[_known("policy", policy, POLICIES)]
    if policy not in chosen.policies:
        raise ConfigError(f"preset {preset} has no policy {policy!r}; it has: {', '.join(chosen.policies)}")
    settings = settings or {}
    defaults = {f.name: f.default for f in fields(EngineConfig)}
    for name, value in settings.items():
        _known("setting", name, defaults)
        if name in chosen.without_effect and value != defaults[name]:
            raise ConfigError(f"{name} has no effect under preset {preset}; leave it out")
    config = EngineConfig(**settings)  # type: ignore[arg-type]
    return Scheduler(config, chosen.batcher(), make_policy())


def _known(kind: str, name: str, known: Mapping[str, object]) -> str:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"unknown {kind} {name!r}; {hint}known: {', '.join(sorted(known))}")
    return name
